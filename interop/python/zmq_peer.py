"""Runs a pyzmq node for the tests: a server until stdin ends, or a client that
makes calls, casts and fanouts and says how they went, as JSON lines."""

import argparse
import json
import sys
import threading
import time

import zmq_node


def say(**event):
    print(json.dumps(event), flush=True)


def fail(args, _):
    raise ValueError(args["message"])


def serve(o):
    counts = {}

    def record(args, source):
        key = args["key"] + (" by fanout" if source[2] else " by name" if source[1] else "")
        counts[key] = counts.get(key, 0) + 1

    handlers = {
        "echo": lambda args, _: args["value"],
        "record": record,
        "counts": lambda args, _: counts,
        "hellos": lambda args, _: server.hellos,
        "fail": fail,
    }
    server = zmq_node.Server(o.address, o.topic, o.server, handlers, o.heartbeat)
    ended = threading.Event()

    def wait():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    say(event="ready")
    server.serve(ended.is_set)


def call(o):
    client = zmq_node.Client(o.address, o.heartbeat)
    any_, named, all_ = client.source(o.topic), client.source(o.topic, o.server), client.source(o.topic, fanout=True)
    for i in range(o.calls):
        value = "x" * (i * 37 % 37000)
        got = client.call(any_ if i % 2 else named, "echo", {"value": value})
        assert got == value, f"{len(got)} characters came back of {len(value)}"
    for i in range(o.calls):
        client.cast(any_, "record", {"key": f"cast/{i}"})
    client.cast(named, "record", {"key": "named"})
    client.cast(all_, "record", {"key": "fanout"})
    if o.pause:
        time.sleep(o.pause)  # libzmq's own thread answers and sends heartbeats meanwhile
    try:
        client.call(any_, "fail", {"message": "on purpose"})
        raise AssertionError("a failure arrived as a result")
    except RuntimeError as e:
        failure = str(e)
    while len(client.settled) < client.seq:
        client.step()
    outcomes = sorted(set(client.settled.values()))
    client.leave()
    say(event="done", calls=o.calls, failure=failure, outcomes=outcomes, sources=len(client.sources))


p = argparse.ArgumentParser()
p.add_argument("role", choices=["serve", "call"])
p.add_argument("--address", required=True)
p.add_argument("--topic", required=True)
p.add_argument("--server", required=True)
p.add_argument("--heartbeat", type=int, default=0, help="milliseconds")
p.add_argument("--calls", type=int, default=100)
p.add_argument("--pause", type=float, default=0)
o = p.parse_args()
{"serve": serve, "call": call}[o.role](o)
