package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Strangers says how somebody who is no peer reaches the transports of a harness,
// where these listen on the network themselves. What their protocol says is the
// harness's: the suite knows none.
type Strangers struct {
	Endpoints []string // host:port where transports may listen; nobody need be at all of them

	// Secure makes a connection what hello is said over, such as one with TLS. Nil: it
	// is that already. Garbage comes before it.
	Secure func(ctx context.Context, nc net.Conn) (net.Conn, error)

	Oversized []byte // says hello and announces something far too large; empty: it is not shown
	Identity  []byte // says hello in the name of a peer, the same each time; empty: it is not shown
}

// Cases of who connects and is no peer. Behind a broker there are none.
func hostileCases() []Case {
	return group("hostile peer",
		must("garbage_before_handshake", "Whatever a stranger sends first, it must cost a connection and nothing else.", garbage),
		must("slow_loris_handshake", "A stranger who takes his time must not take that of others.", slowLoris),
		must("oversized_frame_does_not_panic", "A size that is announced is not there: it must neither end the process nor fill its memory.", oversized),
		must("duplicate_identity", "Who claims to be another must not get what is for him.", duplicateIdentity),
	)
}

// attacked runs an attack while a good client calls a server, and checks that each
// call is answered, and so is one of a client that comes later.
func (t *trial) attacked(attack func(dial func() net.Conn)) {
	t.needs(len(t.h.Strangers.Endpoints) > 0, "Strangers.Endpoints")
	topic := t.name("topic")
	t.service(topic, "s")
	tr := t.open()
	c := t.client(tr, topic)
	t.echo(c, "before")
	ctx, over := context.WithCancel(t.ctx)
	defer over()
	var open []net.Conn
	defer func() {
		for _, nc := range open {
			_ = nc.Close()
		}
	}()
	attack(func() net.Conn {
		for _, at := range t.h.Strangers.Endpoints {
			nc, err := (&net.Dialer{Timeout: t.scaled(slack)}).DialContext(ctx, "tcp", at)
			if err != nil {
				continue
			}
			open = append(open, nc)
			return nc
		}
		t.fatalf("no transport listens at any of %v", t.h.Strangers.Endpoints)
		return nil
	})
	start := time.Now()
	const calls = 20
	for range calls {
		t.echo(c, "meanwhile")
	}
	t.prove("%d calls in %v with %d strangers connected", calls, time.Since(start).Round(time.Millisecond), len(open))
	t.bounds("calls of a good client", start, 0)
	t.echo(t.client(t.open(), topic), "a newcomer")
	if s := tr.Stats(); s.ConnsLost > 0 || s.ReplyDropped > 0 {
		t.errorf("strangers cost the good client %d links and %d replies", s.ConnsLost, s.ReplyDropped)
	}
}

// hungUp waits until the peer closes a connection.
func (t *trial) hungUp(nc net.Conn, what string) {
	t.check(nc.SetReadDeadline(time.Now().Add(t.scaled(patience))), "setting a deadline")
	_, err := io.Copy(io.Discard, nc)
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		t.fatalf("after %s the connection stays open", what)
	}
}

func garbage(t *trial) {
	t.attacked(func(dial func() net.Conn) {
		for range 30 {
			b := make([]byte, 1+t.rng.IntN(4096))
			for i := range b {
				b[i] = byte(t.rng.Uint32())
			}
			_, _ = dial().Write(b) // it may hang up in the middle
		}
		nc := dial()
		_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nX-Padding: a line that is longer than any greeting\r\n\r\n"))
		t.hungUp(nc, "garbage")
	})
}

func slowLoris(t *trial) {
	t.attacked(func(dial func() net.Conn) {
		for range 100 {
			nc := dial()
			if t.rng.IntN(2) == 0 {
				_, _ = nc.Write([]byte{0xff}) // and nothing more
			}
		}
	})
}

// hello returns what says hello over a connection.
func (t *trial) hello(nc net.Conn) net.Conn {
	if t.h.Strangers.Secure == nil {
		return nc
	}
	secure, err := t.h.Strangers.Secure(t.ctx, nc)
	t.check(err, "securing a stranger's connection")
	return secure
}

func oversized(t *trial) {
	t.needs(len(t.h.Strangers.Oversized) > 0, "Strangers.Oversized")
	t.attacked(func(dial func() net.Conn) {
		for range 10 {
			nc := t.hello(dial())
			_, _ = nc.Write(t.h.Strangers.Oversized)
			t.hungUp(nc, "an announced size")
		}
	})
}

func duplicateIdentity(t *trial) {
	t.needs(len(t.h.Strangers.Identity) > 0, "Strangers.Identity")
	t.attacked(func(dial func() net.Conn) {
		for range 10 {
			_, _ = t.hello(dial()).Write(t.h.Strangers.Identity)
		}
	})
	// Two good clients, a stranger in between: each gets its own answers.
	topic := t.name("topic")
	t.service(topic, "s")
	var clients []*rpc.Client
	for range 2 {
		clients = append(clients, t.client(t.open(), topic))
	}
	t.each(len(clients), func(i int) {
		for n := range 20 {
			t.echo(clients[i], string(rune('a'+i))+string(rune('a'+n)))
		}
	})
}
