package rabbit

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
)

// breakable keeps the listeners of a driver, so that a test can break their
// channels inside a living connection.
type breakable struct {
	messaging.Driver
	listeners chan *listener
}

type breakableConn struct {
	messaging.Conn
	b *breakable
}

func (b *breakable) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	c, err := b.Driver.Dial(ctx, ep)
	return breakableConn{c, b}, err
}

func (c breakableConn) Listen(ctx context.Context, sub messaging.Subscription) (messaging.Listener, error) {
	l, err := c.Conn.Listen(ctx, sub)
	if err == nil {
		c.b.listeners <- l.(*listener)
	}
	return l, err
}

// openBreakable returns a driver, and what opens transports over it.
func openBreakable(t *testing.T, url string, trace *messaging.Trace) (*breakable, func() *messaging.Transport) {
	t.Helper()
	u, err := messaging.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opts := (&messaging.Options{Logger: slog.New(slog.DiscardHandler), Trace: trace}).WithDefaults()
	d, codecs, err := Open(u, opts)
	if err != nil {
		t.Fatal(err)
	}
	b := &breakable{Driver: d, listeners: make(chan *listener, 10)}
	return b, func() *messaging.Transport {
		tr, err := messaging.NewTransport(b, codecs, u, opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tr.Close(context.WithoutCancel(t.Context())) })
		return tr
	}
}

// TestChannelClosedWhileHandling: a message whose channel the broker closes, as
// it does after consumer_timeout, comes again over a new channel of the same
// connection while it is handled. It is held until its handler is done, and what
// the handler decides then holds: given back, it comes to somebody else.
func TestChannelClosedWhileHandling(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := make(chan struct{}, 10)
	b, open := openBreakable(t, brokertest.RabbitMQ(t, "4.3").VHost(t),
		&messaging.Trace{Duplicate: func(string, bool) { again <- struct{}{} }})
	to := messaging.Target{Topic: "reopen"}.Address()
	sub := messaging.Subscription{Sources: []messaging.Address{to}}
	tr, other := open(), open()
	s, err := tr.Listen(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Send(ctx, to, &messaging.Envelope{Method: "m"}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := s.Poll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	polled := make(chan error, 1)
	go func() { _, err := s.Poll(ctx); polled <- err }()
	// The broker answers an unknown delivery tag by closing the channel.
	if err := (<-b.listeners).sources[0].current().ch.lib.Ack(99999, false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-again:
	case err := <-polled:
		t.Fatalf("it was handed out twice, or: %v", err)
	}
	if err := in.Settle(ctx, messaging.Requeue); err != nil {
		t.Errorf("giving back what came again: %v", err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	s, err = other.Listen(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := s.Poll(ctx); err != nil || back.ID != in.ID {
		t.Errorf("what was given back is lost: %v", err)
	}
}

// TestDirectReplyChannelCloses: with its channel, an address for direct replies is
// gone. The calls that wait there end, and the next one has another address.
func TestDirectReplyChannelCloses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, open := openBreakable(t, brokertest.RabbitMQ(t, "4.3").VHost(t)+"?direct_reply_to=true", nil)
	server, client := open(), open()
	to := messaging.Target{Topic: "direct"}.Address()
	s, err := server.Listen(ctx, messaging.Subscription{Sources: []messaging.Address{to}})
	if err != nil {
		t.Fatal(err)
	}
	<-b.listeners
	request := func() <-chan error {
		called := make(chan error, 1)
		go func() { _, err := client.Request(ctx, to, &messaging.Envelope{Method: "m"}, nil); called <- err }()
		return called
	}
	receive := func() *messaging.Incoming {
		in, err := s.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	called := request()
	first := receive()
	if err := (<-b.listeners).sources[0].current().ch.lib.Ack(99999, false); err != nil {
		t.Fatal(err)
	}
	if err := <-called; !errors.Is(err, messaging.ErrReplyLost) {
		t.Errorf("the call that waited: %v, want ErrReplyLost", err)
	}
	called = request()
	second := receive()
	if first.ReplyTo == second.ReplyTo {
		t.Errorf("both calls have the address %q", first.ReplyTo)
	}
	if err := server.Reply(ctx, second, &messaging.Envelope{Final: true}); err != nil {
		t.Error(err)
	}
	if err := <-called; err != nil {
		t.Errorf("the next call: %v", err)
	}
}
