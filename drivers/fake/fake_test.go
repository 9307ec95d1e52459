package fake_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

var (
	topic  = messaging.Address{Topic: "volume"}
	named  = messaging.Address{Topic: "volume", Server: "s1"}
	fanout = messaging.Address{Topic: "volume", Fanout: true}
	reply  = messaging.Address{Kind: messaging.KindReply, Direct: "reply_1"}
	notify = messaging.Address{Kind: messaging.KindNotify, Topic: "notifications.info"}
)

// receipt is a Completion that keeps what it is told.
type receipt chan error

func newReceipt() receipt { return make(receipt, 2) }

func (r receipt) Complete(err error) { r <- err }

// outcome returns what the receipt was told; it fails if that was not once.
func (r receipt) outcome(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r:
		if len(r) != 0 {
			t.Fatal("Complete was called twice")
		}
		return err
	default:
		t.Fatal("no outcome")
		return nil
	}
}

func endpoint(host string, c messaging.Credentials) messaging.Endpoint {
	return messaging.Endpoint{
		Host: messaging.HostPort{Host: host}, Name: "test",
		Credentials: func(context.Context) (messaging.Credentials, error) { return c, nil },
	}
}

func dial(t *testing.T, b *fake.Broker) messaging.Conn {
	t.Helper()
	c, err := b.Driver(nil).Dial(t.Context(), endpoint("node1", messaging.Credentials{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

// listen subscribes on a connection of its own.
func listen(t *testing.T, b *fake.Broker, sub messaging.Subscription) messaging.Listener {
	t.Helper()
	return listenOn(t, dial(t, b), sub)
}

func listenOn(t *testing.T, c messaging.Conn, sub messaging.Subscription) messaging.Listener {
	t.Helper()
	if sub.Prefetch == 0 {
		sub.Prefetch = 10
	}
	if sub.Instance == "" {
		sub.Instance = t.Name()
	}
	l, err := c.Listen(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func on(sources ...messaging.Address) messaging.Subscription {
	return messaging.Subscription{Sources: sources}
}

// send sends and returns the outcome, which must be known at once.
func send(t *testing.T, c messaging.Conn, to messaging.Address, m messaging.Message) error {
	t.Helper()
	r := newReceipt()
	if err := c.Send(t.Context(), to, &m, r); err != nil {
		t.Fatalf("Send: %v", err)
	}
	return r.outcome(t)
}

func body(s string) messaging.Message { return messaging.Message{Body: []byte(s)} }

func mustSend(t *testing.T, c messaging.Conn, to messaging.Address, bodies ...string) {
	t.Helper()
	for _, s := range bodies {
		if err := send(t, c, to, body(s)); err != nil {
			t.Fatalf("outcome: %v", err)
		}
	}
}

func poll(t *testing.T, l messaging.Listener) *messaging.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, err := l.Poll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func settle(t *testing.T, d *messaging.Delivery, o messaging.Outcome) {
	t.Helper()
	if err := d.Settle(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// receive polls and acknowledges n messages, and returns their bodies.
func receive(t *testing.T, l messaging.Listener, n int) []string {
	t.Helper()
	var got []string
	for range n {
		d := poll(t, l)
		got = append(got, string(d.Body))
		settle(t, d, messaging.Ack)
	}
	return got
}

// wantNothing checks that no delivery is ready. A delivery is made inside Send
// and inside Settle, so there is nothing to wait for.
func wantNothing(t *testing.T, l messaging.Listener) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if d, err := l.Poll(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Poll returned %v, %v; want nothing", d, err)
	}
}

func wantErr(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("error %q does not match %q", err, target)
		}
	}
}
