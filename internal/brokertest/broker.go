package brokertest

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// startTimeout bounds the start of a broker: the slowest seen, RabbitMQ 3.10
// on two busy cores, took 41 s.
const startTimeout = 3 * time.Minute

// Broker is a running broker that the tests of a package share.
//
// Its methods may be called concurrently. A test that stops, kills or pauses
// the broker disturbs every other test that uses it: such a test must not be
// parallel, and must leave the broker running.
type Broker struct {
	name string     // for messages, such as "RabbitMQ 4.3"
	amqp url.URL    // amqp://user:password@host:port/, or amqps
	mgmt management // its HTTP API
	box  *box       // nil when the broker was given by URL
	up   func(ctx context.Context, b *Broker) error
}

// RabbitMQ returns the RabbitMQ broker of that version, and starts it when it
// is the first to ask. The versions are 3.10, 4.0, 4.3 and 4.3-strict, which
// is 4.3 with transient non-exclusive queues forbidden. It fails the test when
// there is no such broker and none can be started.
func RabbitMQ(tb testing.TB, version string) *Broker {
	tb.Helper()
	spec, ok := rabbitVersions()[version]
	if !ok {
		tb.Fatalf("brokertest: no RabbitMQ version %q is known, add it to rabbitVersions", version)
	}
	b, err := shared.broker("RabbitMQ "+version, func() (*Broker, error) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), startTimeout)
		defer cancel()
		b, err := openRabbitMQ(ctx, version, spec)
		if err == nil {
			tb.Logf("brokertest: %s ready after %.1f s", b, time.Since(begin).Seconds())
		}
		return b, err
	})
	if err != nil {
		tb.Fatalf("brokertest: %v", err)
	}
	return b
}

// String names the broker and its address, without the password.
func (b *Broker) String() string { return b.name + " at " + b.amqp.Host }

// URL returns the transport URL of the broker's default virtual host:
// rabbit://user:password@host:port/.
func (b *Broker) URL() string { return transportURL(b.amqp) }

// AMQPURL returns the same address in the form that AMQP 0-9-1 client
// libraries read: amqp://user:password@host:port/.
func (b *Broker) AMQPURL() string { return b.amqp.String() }

// Exec runs a command inside the broker's container, such as
// "rabbitmqctl", "list_queues", and returns what it printed. A command that
// exits with another status than 0 is an error.
func (b *Broker) Exec(ctx context.Context, args ...string) (string, error) {
	return do(b, "running "+strings.Join(args, " "), func() (string, error) { return b.box.exec(ctx, args) })
}

// StopApp stops the broker but not its container (rabbitmqctl stop_app): its
// connections are closed and its port refuses new ones.
func (b *Broker) StopApp(ctx context.Context) error {
	_, err := b.Exec(ctx, "rabbitmqctl", "stop_app")
	return err
}

// StartApp starts the broker that StopApp stopped, and returns when it accepts
// connections.
func (b *Broker) StartApp(ctx context.Context) error {
	if _, err := b.Exec(ctx, "rabbitmqctl", "start_app"); err != nil {
		return err
	}
	return b.up(ctx, b)
}

// Kill kills the broker's processes without warning, as a crash or a power cut
// does. What it had written to its disk stays.
func (b *Broker) Kill(ctx context.Context) error {
	return b.act("killing it", func() error { return b.box.kill(ctx) })
}

// Stop stops the broker in good order.
func (b *Broker) Stop(ctx context.Context) error {
	return b.act("stopping it", func() error { return b.box.stop(ctx) })
}

// Start starts the broker that Kill killed or Stop stopped, on the same port, and returns when
// it accepts connections.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.act("starting it", func() error { return b.box.start(ctx) }); err != nil {
		return err
	}
	return b.up(ctx, b)
}

// Pause freezes the broker's processes: its connections stay open and nothing
// answers on them.
func (b *Broker) Pause(ctx context.Context) error {
	return b.act("pausing it", func() error { return b.box.pause(ctx) })
}

// Unpause lets a paused broker go on.
func (b *Broker) Unpause(ctx context.Context) error {
	return b.act("letting it go on", func() error { return b.box.unpause(ctx) })
}

// transportURL is the transport URL of an amqp:// or amqps:// address.
func transportURL(u url.URL) string {
	u.Scheme = strings.NewReplacer("amqps", "rabbit+tls", "amqp", "rabbit").Replace(u.Scheme)
	return u.String()
}

func (b *Broker) act(what string, f func() error) error {
	_, err := do(b, what, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// do calls f, which needs the broker's container.
func do[T any](b *Broker, what string, f func() (T, error)) (T, error) {
	var zero T
	if b.box == nil {
		return zero, fmt.Errorf("%s: %s: only a broker that brokertest started can be controlled, and this one was given by URL", b, what)
	}
	v, err := f()
	if err != nil {
		return zero, fmt.Errorf("%s: %s: %w", b, what, err)
	}
	return v, nil
}
