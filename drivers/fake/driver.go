// Package fake is the in-memory driver, "fake://": a broker inside the process.
//
// It is the reference of the driver contract in package messaging. It has every
// capability, so an application can be tested on it without a broker, and it
// has hooks for what real brokers do to applications: cut connections, refuse
// new ones, block publishers, freeze, restart. It starts no goroutine and sets
// no timer, so it works inside a testing/synctest bubble, where hours pass at
// once.
//
//	broker := fake.New(nil)
//	registry := messaging.Registry{"fake": broker.Open}
//	transport, err := registry.Open(ctx, "fake://", nil)
//
// Each Broker is a world of its own, and every transport opened through it
// shares that world; the hosts of a URL are names of nodes of the same broker.
// Queues behave as RabbitMQ's: those of a topic, a server, a notification and a
// group are durable and stay once declared; those of a fanout and of replies
// belong to one listener and expire when it does not come back.
//
// URL options: wire=native|oslo (default native).
package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Options are what a Broker can be made with. The zero value of each field
// means its default. A nil *Options is all defaults.
type Options struct {
	// MaxMessage bounds a message's body in bytes; a larger one is
	// ErrTooLarge. Default: 16 MiB; negative: no bound.
	MaxMessage int64

	// MaxQueue bounds the messages waiting in one queue; one more is
	// ErrRejected. Default: no bound.
	MaxQueue int

	// Expiry is how long a fanout or reply queue waits for its listener to come
	// back. Default: 30 minutes.
	Expiry time.Duration
}

const (
	defaultMaxMessage = 16 << 20
	defaultExpiry     = 30 * time.Minute
)

// Broker is an in-memory broker. It is safe for concurrent use. Nothing has to
// be closed: a Broker without connections is only memory.
type Broker struct {
	maxMessage int64
	topology   *topology

	mu       sync.Mutex // guards the following; never held while a conn's or a queue's lock is taken
	conns    map[*conn]struct{}
	state    state // what new connections start with
	thawed   chan struct{}
	password *messaging.Credentials // nil: any
	refuse   bool
	refused  map[string]bool // hosts
}

// New returns a broker. opts may be nil.
func New(opts *Options) *Broker {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = defaultMaxMessage
	}
	if o.Expiry == 0 {
		o.Expiry = defaultExpiry
	}
	return &Broker{
		maxMessage: max(o.MaxMessage, 0),
		topology:   newTopology(o.MaxQueue, o.Expiry),
		conns:      map[*conn]struct{}{},
		thawed:     make(chan struct{}),
		refused:    map[string]bool{},
	}
}

// Driver returns the driver alone, for tests of the contract and for wrappers
// that break it on purpose. opts may be nil.
func (b *Broker) Driver(opts *messaging.Options) messaging.Driver {
	return &driver{broker: b, window: opts.WithDefaults().Window}
}

type driver struct {
	broker *Broker
	window int
}

// SingleConn is false: sending and listening have connections of their own, as
// on every broker.
func (d *driver) SingleConn() bool { return false }

// Dial opens a connection. While the broker is frozen it waits for ctx's end.
func (d *driver) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	b := d.broker
	if err := b.awaitThaw(ctx, nil); err != nil {
		return nil, connectError(err)
	}
	credentials, err := ep.Credentials(ctx)
	if err != nil {
		return nil, connectError(fmt.Errorf("asking for credentials: %w", err))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.refuse || b.refused[ep.Host.Host]:
		return nil, connectError(errRefused)
	case b.password != nil && *b.password != credentials:
		return nil, connectError(fmt.Errorf("%w for user %q (%w)",
			messaging.ErrAuth, credentials.Username, messaging.ErrPermanent))
	}
	c := newConn(b, ep, d.window, b.state)
	b.conns[c] = struct{}{}
	return c, nil
}

// awaitThaw waits until the broker is not frozen, or done is closed.
func (b *Broker) awaitThaw(ctx context.Context, done <-chan struct{}) error {
	for {
		if ctx.Err() != nil {
			return waitError(ctx, "waiting for the broker's answer")
		}
		b.mu.Lock()
		isFrozen, thawed := b.state&frozen != 0, b.thawed
		b.mu.Unlock()
		if !isFrozen {
			return nil
		}
		select {
		case <-thawed:
		case <-done:
			return nil
		case <-ctx.Done():
		}
	}
}

func (b *Broker) forget(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// open returns the open connections, as of now.
func (b *Broker) open() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.conns))
}
