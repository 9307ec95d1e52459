"""An oslo.messaging RPC client that does what it reads on its standard input, many things at once.

    py_client.py --url URL [--conf group.option=value ...]

A command is one line, a JSON object:

    id        a number that the answer repeats
    do        "call", "cast", "fanout" or "can_send"
    query     of the URL: "?kombu_compression=gzip"
    topic, server, namespace, version          the target
    method, args, context                      the last two as JSON texts
    timeout, monitor                           in seconds
    cap                                        the version cap
    mandatory                                  fail when nobody listens
    exmods                                     modules whose exceptions are rebuilt

Events: ready; and for each command done {id, result} or done {id, error {class, module, message, bases, remote_class,
remote_message, kwargs}}.
"""
import argparse
import concurrent.futures
import json
import os
import sys
import threading

import oslo_messaging

import interop_peer


class Client:
    def __init__(self, conf, url):
        self._conf = conf
        self._url = url
        self._transports = {}
        self._lock = threading.Lock()

    def _transport(self, query, exmods):
        with self._lock:
            key = (query, tuple(exmods))
            if key not in self._transports:
                self._transports[key] = oslo_messaging.get_rpc_transport(
                    self._conf, url=self._url + query, allowed_remote_exmods=exmods)
            return self._transports[key]

    def _rpc_client(self, command):
        options = {}
        if command.get('mandatory'):
            options['transport_options'] = oslo_messaging.TransportOptions(at_least_once=True)
        target = oslo_messaging.Target(
            topic=command['topic'], server=command.get('server'), namespace=command.get('namespace'),
            version=command.get('version'), fanout=True if command['do'] == 'fanout' else None)
        new_client = getattr(oslo_messaging, 'get_rpc_client', oslo_messaging.RPCClient)  # releases before 14.1
        return new_client(
            self._transport(command.get('query', ''), command.get('exmods', [])), target,
            timeout=command.get('timeout'), call_monitor_timeout=command.get('monitor'),
            version_cap=command.get('cap'), **options)

    def run(self, command):
        try:
            client = self._rpc_client(command)
            if command['do'] == 'can_send':
                result = client.can_send_version()
            else:
                send = client.call if command['do'] == 'call' else client.cast
                context = json.loads(command.get('context', '{}'))
                result = send(context, command['method'], **json.loads(command.get('args', '{}')))
            interop_peer.emit('done', id=command['id'], result=json.dumps(result))
        except Exception as error:
            interop_peer.emit('done', id=command['id'], error=describe(error))


def describe(error):
    return {
        'class': type(error).__name__,
        'module': type(error).__module__,
        'message': str(error),
        'bases': ['%s.%s' % (c.__module__, c.__name__) for c in type(error).__mro__],
        'remote_class': getattr(error, 'exc_type', ''),
        'remote_message': getattr(error, 'value', ''),
        'kwargs': json.dumps(getattr(error, 'kwargs', {})),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--url', required=True)
    parser.add_argument('--conf', action='append', default=[])
    parser.add_argument('--verbose', action='store_true')
    args = parser.parse_args()

    client = Client(interop_peer.configure(args.conf, args.verbose), args.url)
    interop_peer.emit('ready')
    with concurrent.futures.ThreadPoolExecutor(max_workers=64) as pool:
        for line in sys.stdin:
            pool.submit(client.run, json.loads(line))
    os._exit(0)  # threads of the library may still wait for something


if __name__ == '__main__':
    main()
