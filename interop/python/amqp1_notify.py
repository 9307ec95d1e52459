"""An oslo.messaging notifier and a listener, for releases with the amqp1 driver.

    amqp1_notify.py --url URL --topic T [--listen] [--conf group.option=value ...]

With --listen it listens on the topic at priority info. Events: ready; and called {method: the event type, args: the
payload, context} for each notification. Each line of its standard input is a notification to send, a JSON object {id,
format ("messaging" or "messagingv2"), event, payload (JSON text), context (JSON text)}; the event is done {id}.
"""
import argparse
import json
import os
import sys

import oslo_messaging

import interop_peer


class Endpoint:
    def info(self, context, publisher_id, event_type, payload, metadata):
        interop_peer.emit('called', server=publisher_id, method=event_type, args=json.dumps(payload),
                          context=json.dumps({k: v for k, v in (context or {}).items() if k != 'client_timeout'}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--url', required=True)
    parser.add_argument('--topic', required=True)
    parser.add_argument('--listen', action='store_true')
    parser.add_argument('--conf', action='append', default=[])
    parser.add_argument('--verbose', action='store_true')
    args = parser.parse_args()

    conf = interop_peer.configure(args.conf, args.verbose)
    transport = oslo_messaging.get_notification_transport(conf, url=args.url)
    if args.listen:
        oslo_messaging.get_notification_listener(
            transport, [oslo_messaging.Target(topic=args.topic)], [Endpoint()], executor='threading').start()
    interop_peer.emit('ready')
    for line in sys.stdin:
        command = json.loads(line)
        notifier = oslo_messaging.Notifier(
            transport, publisher_id='python', topics=[args.topic], driver=command['format'])
        notifier.info(json.loads(command['context']), command['event'], json.loads(command['payload']))
        interop_peer.emit('done', id=command['id'])
    os._exit(0)  # threads of the library may still wait for something


if __name__ == '__main__':
    main()
