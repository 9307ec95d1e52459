package messaging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

// script is a driver whose every answer a test decides: what drivers/fake, a
// well-behaved broker, cannot be asked to do.
type script struct {
	mu     sync.Mutex
	dial   func(n int, ep Endpoint) error                              // nil: succeed
	send   func(c *scriptConn, to Address, m Message) (error, []error) // Send's error, and outcomes to complete with; default: accepted
	listen func(n int, sub Subscription) (string, error)               // the reply address; nil: the wanted one
	caps   Capabilities
	single bool
	shares bool

	stopTakes  time.Duration // of listeners
	closeTakes time.Duration // of connections

	conns []*scriptConn
	dials []HostPort
	lists int
}

var allCaps = Capabilities{
	Durable: true, Ordered: true, Requeue: true, Mandatory: true, TTL: true, Priority: true, Groups: true,
	StableReply: true, MaxMessage: 1 << 20,
}

func (s *script) SingleConn() bool { return s.single }
func (s *script) ShareConn() bool  { return s.shares }

func (s *script) Dial(ctx context.Context, ep Endpoint) (Conn, error) {
	if _, err := ep.Credentials(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, ep.Host)
	if s.dial != nil {
		if err := s.dial(len(s.dials), ep); err != nil {
			return nil, err
		}
	}
	c := &scriptConn{s: s, n: len(s.conns), host: ep.Host, done: make(chan struct{})}
	s.conns = append(s.conns, c)
	return c, nil
}

// conn returns the n-th connection that was opened.
func (s *script) conn(n int) *scriptConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[n]
}

// listener returns the latest listener of any connection.
func (s *script) listener() *scriptListener {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.conns) - 1; i >= 0; i-- {
		if ls := s.conns[i].listeners; len(ls) > 0 {
			return ls[len(ls)-1]
		}
	}
	return nil
}

func (s *script) dialled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dials)
}

type scriptConn struct {
	s         *script
	n         int
	host      HostPort
	done      chan struct{}
	once      sync.Once
	err       error
	sent      []Message
	pending   []Completion
	listeners []*scriptListener
}

func (c *scriptConn) Capabilities() Capabilities { return c.s.caps }
func (c *scriptConn) Done() <-chan struct{}      { return c.done }

func (c *scriptConn) Err() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.err
}

func (c *scriptConn) die(err error) {
	c.once.Do(func() {
		c.s.mu.Lock()
		c.err = err
		pending := c.pending
		c.pending = nil
		c.s.mu.Unlock()
		close(c.done)
		for _, p := range pending {
			p.Complete(ErrOutcomeUnknown)
		}
	})
}

func (c *scriptConn) cut() { c.die(ErrConnLost) }

func (c *scriptConn) Close(ctx context.Context) error {
	select {
	case <-time.After(c.s.closeTakes):
	case <-ctx.Done():
	}
	c.die(ErrClosed)
	return nil
}

func (c *scriptConn) Send(ctx context.Context, to Address, m *Message, done Completion) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	select {
	case <-c.done:
		return fmt.Errorf("%w: %w", ErrNotSent, ErrConnLost)
	default:
	}
	copied := *m
	copied.Body = append([]byte(nil), m.Body...)
	c.s.mu.Lock()
	c.sent = append(c.sent, copied)
	send := c.s.send
	c.s.mu.Unlock()
	if send == nil {
		done.Complete(nil)
		return nil
	}
	err, outcomes := send(c, to, copied)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		done.Complete(o)
	}
	if len(outcomes) == 0 && !c.wait(done) {
		done.Complete(ErrOutcomeUnknown)
	}
	return nil
}

// wait keeps a completion until the connection dies, unless it has already.
func (c *scriptConn) wait(done Completion) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.pending = append(c.pending, done)
	return true
}

func (c *scriptConn) Listen(_ context.Context, sub Subscription) (Listener, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.lists++
	address := sub.Reply
	if c.s.listen != nil {
		a, err := c.s.listen(c.s.lists, sub)
		if err != nil {
			return nil, err
		}
		address = a
	}
	l := &scriptListener{c: c, sub: sub, address: address, in: make(chan *Delivery, 64), stopped: make(chan struct{})}
	c.listeners = append(c.listeners, l)
	return l, nil
}

type scriptListener struct {
	c       *scriptConn
	sub     Subscription
	address string
	in      chan *Delivery
	stopped chan struct{}
	once    sync.Once
	mu      sync.Mutex
	settled []Outcome
	closed  bool
}

func (l *scriptListener) Address() string { return l.address }

func (l *scriptListener) Poll(ctx context.Context) (*Delivery, error) {
	select {
	case d := <-l.in:
		if d == nil { // the poller sees the loss before the connection does
			return nil, ErrConnLost
		}
		return d, nil
	case <-l.stopped:
		return nil, ErrClosed
	case <-l.c.done:
		return nil, ErrConnLost
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *scriptListener) Stop(ctx context.Context) (int, error) {
	select {
	case <-time.After(l.c.s.stopTakes):
	case <-ctx.Done():
	}
	l.once.Do(func() { close(l.stopped) })
	return len(l.in), nil
}

func (l *scriptListener) Close(ctx context.Context) error {
	_, err := l.Stop(ctx)
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	return err
}

// Settle implements Settler: it notes the outcome.
func (l *scriptListener) Settle(_ context.Context, _ *Delivery, o Outcome) error {
	select {
	case <-l.c.done:
		return ErrConnLost
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = append(l.settled, o)
	return nil
}

func (l *scriptListener) outcomes() []Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Outcome(nil), l.settled...)
}

// deliver hands an envelope to whoever polls.
func (l *scriptListener) deliver(e *Envelope) { l.in <- l.delivery(e) }

// delivery returns e on its way to the listener.
func (l *scriptListener) delivery(e *Envelope) *Delivery {
	var m Message
	if err := (plain{}).Encode(e, &m); err != nil {
		panic(err)
	}
	return NewDelivery(m, l)
}

// redeliver is deliver, marked as delivered before.
func (l *scriptListener) redeliver(e *Envelope) {
	d := l.delivery(e)
	d.Redelivered = true
	l.in <- d
}

// plain is the simplest codec there can be: the envelope as JSON.
type plain struct{}

func (plain) Name() string            { return "plain" }
func (plain) Accepts(m *Message) bool { return m.ContentType == "test/plain" }

func (plain) Encode(e *Envelope, m *Message) (err error) {
	m.ContentType, m.ID = "test/plain", e.ID
	b, err := json.Marshal(e)
	m.Body = append(m.Body, b...)
	return err
}

func (plain) Decode(m *Message, e *Envelope) error {
	kind := e.Kind
	*e = Envelope{}
	if err := json.Unmarshal(m.Body, e); err != nil {
		return fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	e.Kind = kind
	return nil
}

func decodePlain(t *testing.T, m Message) Envelope {
	t.Helper()
	var e Envelope
	if err := (plain{}).Decode(&m, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// open returns a transport over s that the test closes.
func (s *script) open(t *testing.T, url string, o *Options) *Transport {
	t.Helper()
	if s.caps == (Capabilities{}) {
		s.caps = allCaps
	}
	u, err := ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if o == nil {
		o = &Options{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	tr, err := NewTransport(s, []Codec{plain{}}, u, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// within returns a ctx that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// wantIs checks that err matches all of the targets.
func wantIs(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("error %q does not match %q", err, target)
		}
	}
}

// elapse lets virtual time pass, inside a synctest bubble.
func elapse(d time.Duration) { <-time.After(d) }

var topic = Target{Topic: "volume"}.Address()
