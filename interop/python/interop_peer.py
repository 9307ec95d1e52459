"""What client and server have in common: the configuration, and how they talk to the test.

A peer writes one JSON object per line to its standard output, and ends when its standard input does. Arguments,
results and contexts are in these objects as strings which hold JSON text: so integers keep their digits, and NaN,
which is no JSON, its meaning.
"""
import json
import logging
import sys
import threading

from oslo_config import cfg
from oslo_messaging import opts

_stdout = threading.Lock()


def configure(items, verbose=False):
    """Return oslo.messaging's configuration, changed by items like 'oslo_messaging_rabbit.heartbeat_rate=2'."""
    logging.basicConfig(level=logging.DEBUG if verbose else logging.CRITICAL, stream=sys.stderr)
    conf = cfg.CONF  # not one of our own: oslo.messaging looks up rpc_ping_enabled here
    conf([], project='interop')
    for group, options in opts.list_opts():
        try:
            conf.register_opts(options, group=group)
        except cfg.DuplicateOptError:
            pass  # the same option, listed twice
    for item in items:
        name, value = item.split('=', 1)
        group, _, option = name.rpartition('.')
        try:
            value = json.loads(value)
        except ValueError:
            pass  # a bare word is a string
        conf.set_override(option, value, group=group or None)
    return conf


def emit(event, **fields):
    """Tell the test what happened."""
    line = json.dumps(dict(fields, event=event)) + '\n'
    with _stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
