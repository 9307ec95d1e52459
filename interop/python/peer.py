"""A process with oslo.messaging in every role: it does what it reads on its standard input, many things at once.

    peer.py [--conf group.option=value ...] [--config-file FILE ...]

A command is one line, a JSON object with an id that the answer repeats, and "do". Arguments, results, contexts and
payloads are strings that hold JSON text, so integers keep their digits, and NaN, which is no JSON, its meaning. What
else a command has, its method below says. Every URL has a transport of its own; options of the rabbit driver
are in its query. An empty URL is that of the configuration files.

Events, one JSON object per line of the standard output: ready; done {id, result} or done {id, error {class, module,
message, bases, remote_class, remote_message, kwargs}} for each command; and what servers and listeners get: called
{name, server, method, args, context} before a method is answered, notified {name, priority, args, context, publisher,
event_type, message_id, timestamp, requeued, size}.

It ends with its standard input: servers and listeners drain first, and stopped is the last event.
"""
import argparse
import concurrent.futures
import json
import logging
import os
import sys
import threading
import time

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import opts
from oslo_messaging._drivers import amqp
from oslo_messaging.rpc import dispatcher

import interop_errors

_stdout = threading.Lock()


def emit(event, **fields):
    """Tell the test what happened."""
    line = json.dumps(dict(fields, event=event)) + '\n'
    with _stdout:
        sys.stdout.write(line)
        sys.stdout.flush()


def configure(items, files, verbose=False):
    """Return oslo.messaging's configuration, changed by items like 'oslo_messaging_rabbit.heartbeat_rate=2'."""
    logging.basicConfig(level=logging.DEBUG if verbose else logging.CRITICAL, stream=sys.stderr)
    conf = cfg.CONF  # not one of our own: oslo.messaging looks up rpc_ping_enabled here
    conf([], project='interop', default_config_files=files)
    register(conf)
    for item in items:
        name, value = item.split('=', 1)
        group, _, option = name.rpartition('.')
        try:
            value = json.loads(value)
        except ValueError:
            pass  # a bare word is a string
        conf.set_override(option, value, group=group or None)
    return conf


def options():
    """Return the options of oslo.messaging, each with its group."""
    return [(group or 'DEFAULT', option) for group, listed in opts.list_opts() for option in listed]


def register(conf):
    for group, option in options():
        try:
            conf.register_opt(option, group=None if group == 'DEFAULT' else group)
        except cfg.DuplicateOptError:
            pass  # the same option, listed twice


class Endpoint:
    """The null namespace, version 1.5. The Go server of the tests has the same methods."""

    target = oslo_messaging.Target(version='1.5')

    def __init__(self, name, server):
        self._name = name
        self.server = server

    def _called(self, context, method, **args):
        emit('called', name=self._name, server=self.server, method=method, args=json.dumps(args), context=json.dumps(context))

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


class NotificationEndpoint:
    """Has a method for each priority that it wants, and gives back each notification the first time if told to."""

    def __init__(self, name, priorities, requeue, batch):
        self._name = name
        self._requeue = requeue
        self._seen = set()
        for priority in priorities:
            setattr(self, priority, (self._batch_of if batch else self._one_of)(priority))

    def _tell(self, priority, context, publisher_id, event_type, payload, metadata, size=1):
        requeued = self._requeue and metadata['message_id'] not in self._seen
        self._seen.add(metadata['message_id'])
        emit('notified', name=self._name, priority=priority, context=json.dumps(context), publisher=publisher_id,
             event_type=event_type, args=json.dumps(payload), requeued=requeued, size=size, **metadata)
        if requeued:
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED

    def _one_of(self, priority):
        def method(context, publisher_id, event_type, payload, metadata):
            return self._tell(priority, context, publisher_id, event_type, payload, metadata)
        return method

    def _batch_of(self, priority):
        def method(messages):
            for m in messages:
                self._tell(priority, m['ctxt'], m['publisher_id'], m['event_type'], m['payload'], m['metadata'], len(messages))
            return oslo_messaging.NotificationResult.HANDLED
        return method


class Context:
    """What a notifier keeps of a request context: it must be able to redact itself."""

    def __init__(self, values):
        self._values = values

    def to_dict(self):
        return dict(self._values)

    def redacted_copy(self):
        return self

    @classmethod
    def from_dict(cls, values):
        """Make one, as releases before redacted_copy do."""
        return cls(values)


class ContextSerializer(oslo_messaging.NoOpSerializer):
    def serialize_context(self, context):
        return context.to_dict() if hasattr(context, 'to_dict') else context


class Peer:
    def __init__(self, conf):
        self._conf = conf
        self._lock = threading.Lock()
        self._transports = {}
        self._servers = {}
        self._fixed_ids = {}  # by the value of the argument "same"
        original = amqp._add_unique_id

        def add_unique_id(message):
            original(message)
            same = message.get('args', {}).get('same') if isinstance(message.get('args'), dict) else None
            if same in self._fixed_ids:
                message['_unique_id'] = self._fixed_ids[same]
        amqp._add_unique_id = add_unique_id

    def run(self, command):
        try:
            result = getattr(self, 'do_' + command['do'])(command)
            emit('done', id=command['id'], result=json.dumps(result))
        except Exception as error:
            emit('done', id=command['id'], error=describe(error))

    def _transport(self, kind, command):
        key = (kind, command['url'], tuple(command.get('exmods', [])))
        with self._lock:
            if key not in self._transports:
                make = oslo_messaging.get_rpc_transport if kind == 'rpc' else oslo_messaging.get_notification_transport
                self._transports[key] = make(self._conf, url=command['url'] or None, allowed_remote_exmods=command.get('exmods', []))
            return self._transports[key]

    # Requests: url, topic, server, namespace, version, method, args, context, timeout and monitor in seconds, cap (of the
    # version), mandatory (fail when nobody listens), exmods (modules whose exceptions are rebuilt).

    def _client(self, command, fanout=None):
        options = {}
        if command.get('mandatory'):
            options['transport_options'] = oslo_messaging.TransportOptions(at_least_once=True)
        target = oslo_messaging.Target(
            topic=command['topic'], server=command.get('server'), namespace=command.get('namespace'),
            version=command.get('version'), fanout=fanout)
        new_client = getattr(oslo_messaging, 'get_rpc_client', oslo_messaging.RPCClient)  # releases before 14.1
        return new_client(
            self._transport('rpc', command), target, timeout=command.get('timeout'),
            call_monitor_timeout=command.get('monitor'), version_cap=command.get('cap'), **options)

    def _send(self, send, command):
        return send(json.loads(command.get('context', '{}')), command['method'], **json.loads(command.get('args', '{}')))

    def do_call(self, command):
        return self._send(self._client(command).call, command)

    def do_cast(self, command):
        return self._send(self._client(command).cast, command)

    def do_fanout(self, command):
        return self._send(self._client(command, fanout=True).cast, command)

    def do_can_send(self, command):
        return self._client(command).can_send_version()

    def do_cast_twice(self, command):
        """Cast a message twice with the same id, as a client that sends again after a lost connection does."""
        same = json.loads(command['args'])['same']
        self._fixed_ids[same] = 'fixed-id-of-' + same
        for _ in range(2):
            self.do_cast(command)

    def do_flood(self, command):
        """Call echo count times, inflight at once, and return the seconds that it took and the errors."""
        client = self._client(command)
        args = json.loads(command['args'])
        errors = []

        def call(_):
            try:
                if client.call({}, 'echo', **args) != args:
                    errors.append('another result')
            except Exception as error:
                errors.append(repr(error))
        call(0)  # connects
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(max_workers=command['inflight']) as pool:
            list(pool.map(call, range(command['count'])))
        return {'seconds': time.monotonic() - start, 'errors': len(errors), 'first': ''.join(errors[:1])}

    def do_leave(self, command):
        """Close the transports of a URL, as a process that ends does."""
        with self._lock:
            keys = [key for key in self._transports if key[1] == command['url']]
            transports = [self._transports.pop(key) for key in keys]
        for transport in transports:
            transport.cleanup()

    # Servers: name (of the server or listener, for stop), url, topic, server, ping.

    def do_serve(self, command):
        with self._lock:  # the option is read by the dispatcher that is made
            self._conf.register_opts(dispatcher._dispatcher_opts)
            self._conf.set_override('rpc_ping_enabled', command.get('ping', False))
            server = oslo_messaging.get_rpc_server(
                oslo_messaging.get_rpc_transport(self._conf, url=command['url'] or None),
                oslo_messaging.Target(topic=command['topic'], server=command['server']),
                [Endpoint(command['name'], command['server']), NamespacedEndpoint()])
        self._start(command['name'], server)

    def _start(self, name, server):
        server.start()
        with self._lock:
            self._servers[name] = server

    def do_stop(self, command):
        with self._lock:
            server = self._servers.pop(command['name'])
        self._stop(server)

    def _stop(self, server):
        server.stop()
        server.wait()
        server.transport.cleanup()

    # Notifications: url, topics; to publish publisher, priority, event, payload, context, v1 and count; to listen name,
    # priorities, pool, allow_requeue, requeue (each the first time), batch_size and batch_timeout.

    def do_notify(self, command):
        notifier = oslo_messaging.Notifier(
            self._transport('notify', command), publisher_id=command.get('publisher', ''), topics=command['topics'],
            driver='messaging' if command.get('v1') else 'messagingv2', serializer=ContextSerializer())
        publish = getattr(notifier, command['priority'])
        context = Context(json.loads(command['context'])) if command.get('context') else {}
        for i in range(command.get('count', 1)):
            payload = json.loads(command['payload'])
            if command.get('count', 1) > 1:
                payload['n'] = i
            publish(context, command['event'], payload)

    def do_listen(self, command):
        batch = command.get('batch_size', 0) > 0
        endpoint = NotificationEndpoint(command['name'], command['priorities'], command.get('requeue', False), batch)
        targets = [oslo_messaging.Target(topic=topic) for topic in command['topics']]
        transport = oslo_messaging.get_notification_transport(self._conf, url=command['url'] or None)
        options = {'allow_requeue': command.get('allow_requeue', False), 'pool': command.get('pool'), 'executor': 'threading'}
        if batch:
            listener = oslo_messaging.get_batch_notification_listener(
                transport, targets, [endpoint], batch_size=command['batch_size'], batch_timeout=command['batch_timeout'], **options)
        else:
            listener = oslo_messaging.get_notification_listener(transport, targets, [endpoint], **options)
        self._start(command['name'], listener)

    # Configuration: files.

    def do_config(self, command):
        """Return what oslo.config makes of files: the options of oslo.messaging that are not what they are by default."""
        conf = cfg.ConfigOpts()
        conf([], project='interop', default_config_files=command['files'])
        conf.register_opt(cfg.StrOpt('my_ip'))  # as nova does
        register(conf)
        result = {}
        for group, option in options():
            value = conf[option.dest] if group == 'DEFAULT' else conf[group][option.dest]
            if value != option.default:
                result['%s.%s' % (group, option.dest)] = value
        return result

    def do_options(self, command):
        """Return every option of oslo.messaging and its default value, also under names that it once had."""
        return {'%s.%s' % (group, name): option.default for group, option in options()
                for name in [option.dest] + [old.name for old in option.deprecated_opts]}

    def end(self):
        for server in list(self._servers.values()):
            self._stop(server)


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
    parser.add_argument('--conf', action='append', default=[])
    parser.add_argument('--config-file', action='append', default=[])
    parser.add_argument('--verbose', action='store_true')
    args = parser.parse_args()
    os.setpgrp()  # the queue manager asks when its group's leader was started, and ours may have ended
    peer = Peer(configure(args.conf, args.config_file, args.verbose))
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=128)
    emit('ready')
    for line in sys.stdin:
        pool.submit(peer.run, json.loads(line))
    peer.end()
    emit('stopped')
    os._exit(0)  # threads of the library may still wait for something


if __name__ == '__main__':
    main()
