"""An oslo.messaging RPC server.

    py_server.py --url URL --topic T --server S [--ping] [--conf group.option=value ...]

Events: ready, once it listens; called {server, method, args, context} for each request, before it is answered; and
stopped, after its standard input ended and it has drained.
"""
import argparse
import json
import os
import sys
import time

import oslo_messaging

import interop_errors
import interop_peer


class Endpoint:
    """The null namespace, version 1.5. The Go server of the tests has the same methods."""

    target = oslo_messaging.Target(version='1.5')

    def __init__(self, server):
        self.server = server

    def _called(self, context, method, **args):
        interop_peer.emit('called', server=self.server, method=method, args=json.dumps(args), context=json.dumps(context))

    def echo(self, context, **args):
        """Return the keyword arguments."""
        return args

    def describe(self, context, value):
        """Return what Python makes of a value."""
        return '%s %r' % (type(value).__name__, value)

    def add(self, context, a, b):
        return a + b

    def nothing(self, context):
        return None

    def context(self, context):
        """Return the caller's context, without what the library itself adds to it."""
        return {key: value for key, value in context.items() if key != 'client_timeout'}

    def whoami(self, context):
        self._called(context, 'whoami')
        return self.server

    def record(self, context, **args):
        self._called(context, 'record', **args)

    def sleep(self, context, seconds):
        self._called(context, 'sleep', seconds=seconds)
        time.sleep(seconds)
        return seconds

    def fail(self, context, message):
        self._called(context, 'fail', message=message)
        raise ValueError(message)

    @oslo_messaging.expected_exceptions(KeyError)
    def fail_expected(self, context, key):
        raise KeyError(key)

    def fail_custom(self, context, message, code):
        raise interop_errors.CustomError(message, code=code, hint='x')

    def _private(self, context):
        return 'private'


class NamespacedEndpoint:
    """Namespace ns1, or oldns from before it was renamed, at version 2.3."""

    target = oslo_messaging.Target(namespace='ns1', version='2.3', legacy_namespaces=['oldns'])

    def where(self, context):
        return 'ns1'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--url', required=True)
    parser.add_argument('--topic', required=True)
    parser.add_argument('--server', required=True)
    parser.add_argument('--ping', action='store_true')
    parser.add_argument('--conf', action='append', default=[])
    parser.add_argument('--verbose', action='store_true')
    args = parser.parse_args()

    conf = interop_peer.configure(args.conf, args.verbose)
    conf.set_override('rpc_ping_enabled', args.ping)
    transport = oslo_messaging.get_rpc_transport(conf, url=args.url)
    server = oslo_messaging.get_rpc_server(
        transport, oslo_messaging.Target(topic=args.topic, server=args.server),
        [Endpoint(args.server), NamespacedEndpoint()])
    server.start()
    interop_peer.emit('ready')
    sys.stdin.read()
    server.stop()
    server.wait()
    transport.cleanup()
    interop_peer.emit('stopped')
    os._exit(0)  # threads of the library may still wait for something


if __name__ == '__main__':
    main()
