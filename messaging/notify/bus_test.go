package notify_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// bus is a broker in memory with what a test opens on it.
type bus struct {
	t      *testing.T
	broker *fake.Broker
	codec  messaging.Codec
	log    *logBuffer
	caps   func(c *messaging.Capabilities) // nil: the driver's
}

// inBubble runs test with virtual time, on a bus of each wire format.
func inBubble(t *testing.T, test func(t *testing.T, b *bus)) {
	t.Helper()
	for _, codec := range []messaging.Codec{wire.Native(0), wire.Oslo(0)} {
		t.Run(codec.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, &bus{t: t, broker: fake.New(nil), codec: codec, log: &logBuffer{}})
			})
		})
	}
}

func (b *bus) ctx() context.Context { return context.WithoutCancel(b.t.Context()) }

// open returns a transport of its own, as another process would have.
func (b *bus) open() *messaging.Transport {
	b.t.Helper()
	registry := messaging.Registry{"fake": func(_ *messaging.URL, opts *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		return &driver{b.broker.Driver(opts), b}, []messaging.Codec{b.codec}, nil
	}}
	t, err := registry.Open(b.ctx(), "fake://", &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = t.Close(b.ctx()) })
	return t
}

// driver declares what the test wants.
type driver struct {
	messaging.Driver
	bus *bus
}

func (d *driver) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	c, err := d.Driver.Dial(ctx, ep)
	if err != nil {
		return nil, err
	}
	return &conn{c, d.bus}, nil
}

type conn struct {
	messaging.Conn
	bus *bus
}

func (c *conn) Capabilities() messaging.Capabilities {
	caps := c.Conn.Capabilities()
	if c.bus.caps != nil {
		c.bus.caps(&caps)
	}
	return caps
}

// pass lets time pass, and everything that happens in it.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// notifier returns a notifier of publisher "pub" with a transport of its own.
func (b *bus) notifier(opts *notify.MessagingOptions) *notify.Notifier {
	b.t.Helper()
	return notify.NewNotifier("pub", []notify.Driver{notify.Messaging(b.open(), opts)}, nil)
}

var target = messaging.Target{Topic: notify.DefaultTopic}

// listener returns one that is not started, with a transport of its own.
func (b *bus) listener(opts *notify.ListenerOptions, eps ...*notify.Endpoint) *notify.Listener {
	b.t.Helper()
	var o notify.ListenerOptions
	if opts != nil {
		o = *opts
	}
	o.Logger = slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l, err := notify.NewListener(b.open(), []messaging.Target{target}, eps, &o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = l.Wait(b.ctx()) })
	return l
}

// listen returns one that listens.
func (b *bus) listen(opts *notify.ListenerOptions, eps ...*notify.Endpoint) *notify.Listener {
	b.t.Helper()
	l := b.listener(opts, eps...)
	if err := l.Start(b.ctx()); err != nil {
		b.t.Fatal(err)
	}
	return l
}

// record is an endpoint that keeps what it gets of the priorities, and returns
// what say says.
type record struct {
	notify.Endpoint
	say func(n *notify.Notification) error // nil: handled

	mu  sync.Mutex
	got []notify.Notification
}

func newRecord(say func(n *notify.Notification) error, priorities ...notify.Priority) *record {
	r := &record{say: say}
	for _, p := range priorities {
		notify.HandleRaw(&r.Endpoint, p, func(_ context.Context, n *notify.Notification) error {
			r.mu.Lock()
			r.got = append(r.got, *n)
			r.mu.Unlock()
			if r.say == nil {
				return nil
			}
			return r.say(n)
		})
	}
	return r
}

// events returns the types of what came.
func (r *record) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var types []string
	for _, n := range r.got {
		types = append(types, n.EventType)
	}
	return types
}

// logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
