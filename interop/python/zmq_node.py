"""A node of Patchbay's zmq transport, written from docs/wire.md with pyzmq: libzmq
frames, heartbeats and reconnects; this file has what is above."""

import json
import os
import struct

import zmq

VERSION = 1
HELLO, LISTEN, UNLISTEN, REQUEST, REPLY, RECEIVED, SETTLED, ROOM, PASS, BYE = range(1, 11)
ACK, DROP, REQUEUE, FULL, GONE = range(5)
REDELIVERED, USES_ROOM, WANTS_ROOM = 1, 2, 4
FANOUT, AT_MOST_ONCE = 1, 2
HEAD = struct.Struct(">BBBxIQII")  # version, kind, flags, source, sequence, ttl, count
NATIVE = "application/vnd.patchbay.v1+json"


def socket(kind, heartbeat):
    """A socket with libzmq's heartbeats on: who does not answer PING is dropped."""
    s = zmq.Context.instance().socket(kind)
    s.setsockopt(zmq.LINGER, 1000)
    if heartbeat:
        s.setsockopt(zmq.HEARTBEAT_IVL, heartbeat)
        s.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5 * heartbeat)
        s.setsockopt(zmq.HEARTBEAT_TTL, 10 * heartbeat)
    return s


def head(kind, flags=0, source=0, seq=0, ttl=0, count=0):
    return HEAD.pack(VERSION, kind, flags, source, seq, ttl, count)


def parse_head(frame):
    version, kind, flags, source, seq, ttl, count = HEAD.unpack(frame)
    assert version == VERSION, f"version {version}"
    return kind, flags, source, seq, ttl, count


def text(s):
    b = s.encode()
    return struct.pack(">H", len(b)) + b


class Reader:
    def __init__(self, frame):
        self.frame, self.at = frame, 0

    def take(self, n):
        assert self.at + n <= len(self.frame), "cut off"
        self.at += n
        return self.frame[self.at - n : self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def text(self):
        return self.take(self.number(2)).decode()

    def long(self):
        return self.take(self.number(4)).decode()


def props(to="", message_id="", correlation="", reply_to="", headers=None):
    b = b"".join(text(s) for s in (to, message_id, correlation, reply_to, NATIVE, "utf-8"))
    b += struct.pack(">BH", 0, len(headers or {}))
    for key, value in (headers or {}).items():
        v = value.encode()
        b += text(key) + struct.pack(">I", len(v)) + v
    return b


def parse_props(frame):
    r = Reader(frame)
    p = {k: r.text() for k in ("to", "id", "correlation", "reply_to", "type", "encoding")}
    r.take(1)  # priority
    p["headers"] = {}
    for _ in range(r.number(2)):
        key = r.text()
        p["headers"][key] = r.long()
    return p


def hello(name, sources=()):
    b = os.urandom(16) + struct.pack(">Q", 16 << 20) + text(name) + struct.pack(">I", len(sources))
    for number, (topic, server, fanout) in enumerate(sources, 1):
        b += struct.pack(">IBBI", number, 0, FANOUT if fanout else 0, 64)
        b += text("") + text(topic) + text(server) + text("")
    return b


def parse_sources(r):
    sources = {}
    for _ in range(r.number(4)):
        number, kind, flags, prefetch = struct.unpack(">IBBI", r.take(10))
        exchange, topic, server, group = r.text(), r.text(), r.text(), r.text()
        server = "" if flags & FANOUT else server
        sources[number] = {"topic": topic, "server": server, "fanout": bool(flags & FANOUT), "prefetch": prefetch}
    return sources


def parse_hello(frame):
    r = Reader(frame)
    r.take(16 + 8)
    r.text()
    return parse_sources(r)


class Server:
    """Listens: a ROUTER that clients dial. Each handler gets arguments and returns
    a result; one that raises is a remote failure."""

    def __init__(self, address, topic, server, handlers, heartbeat=0):
        self.socket = socket(zmq.ROUTER, heartbeat)
        self.socket.bind(address)
        self.sources = [(topic, "", False), (topic, server, False), (topic, "", True)]
        self.handlers = handlers
        self.hellos = 0
        self.seen = {}

    def serve(self, stop):
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        while not stop():
            if poller.poll(100):
                self.handle(*self.socket.recv_multipart())

    def send(self, peer, *frames):
        self.socket.send_multipart([peer, *frames])

    def handle(self, peer, first, *rest):
        kind, _, source, seq, _, _ = parse_head(first)
        if kind == HELLO:
            self.hellos += 1
            self.send(peer, head(HELLO), hello("python", self.sources))
        elif kind == REQUEST:
            self.send(peer, head(RECEIVED, seq=seq))
            p = parse_props(rest[0])
            headers = p["headers"]
            result, failed = None, {}
            try:
                args = json.loads(rest[1])
                result = self.handlers[headers["pb-method"]](args, self.sources[source - 1])
            except Exception as e:  # whatever it is, the caller is told
                failed = {"pb-failed": "true"}
                result = {
                    "class": type(e).__name__, "module": "builtins", "message": str(e), "tb": [], "args": [str(e)], "kwargs": {},
                }
            if p["correlation"]:
                answer = props(p["reply_to"], p["correlation"], p["correlation"], headers=failed)
                self.send(peer, head(REPLY), answer, json.dumps(result).encode())
            self.send(peer, head(SETTLED), struct.pack(">QB", seq, ACK))


class Client:
    """Sends: a DEALER for one server."""

    def __init__(self, address, heartbeat=0):
        self.socket = socket(zmq.DEALER, heartbeat)
        self.socket.connect(address)
        self.seq, self.received, self.settled = 0, 0, {}
        self.sources, self.replies = {}, {}
        self.socket.send_multipart([head(HELLO), hello("python")])
        while not self.sources:
            self.step()

    def step(self, timeout=10000):
        if not self.socket.poll(timeout):
            raise TimeoutError("nothing comes")
        first, *rest = self.socket.recv_multipart()
        kind, flags, source, seq, _, _ = parse_head(first)
        if kind == HELLO:
            self.sources = parse_hello(rest[0])
        elif kind == LISTEN:
            self.sources.update(parse_sources(Reader(rest[0])))
        elif kind == RECEIVED:
            self.received = max(self.received, seq)
        elif kind == SETTLED:
            for n, outcome in struct.iter_unpack(">QB", rest[0]):
                self.settled[n] = outcome
        elif kind == REPLY:
            p = parse_props(rest[0])
            self.replies[p["correlation"]] = (p, rest[1])

    def request(self, source, method, args, call=""):
        self.seq += 1
        p = props("", os.urandom(16).hex(), call, "here" if call else "", {"pb-method": method})
        self.socket.send_multipart([head(REQUEST, source=source, seq=self.seq), p, json.dumps(args).encode()])
        return self.seq

    def source(self, topic, server="", fanout=False):
        for number, s in self.sources.items():
            if (s["topic"], s["server"], s["fanout"]) == (topic, server, fanout):
                return number
        raise LookupError(f"nobody listens at {topic} {server}")

    def call(self, source, method, args):
        call = os.urandom(16).hex()
        self.request(source, method, args, call)
        while call not in self.replies:
            self.step()
        p, body = self.replies.pop(call)
        if p["headers"].get("pb-failed"):
            failure = json.loads(body)
            raise RuntimeError(f'{failure["class"]}: {failure["message"]}')
        return json.loads(body)

    def cast(self, source, method, args):
        """Returns when the server has it."""
        seq = self.request(source, method, args)
        while self.received < seq:
            self.step()
        return seq

    def leave(self):
        self.socket.send_multipart([head(BYE), b"leaving"])
        self.socket.close()
