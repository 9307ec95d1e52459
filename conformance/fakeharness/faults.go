package fakeharness

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

// link makes the faults that are not the broker's but those of what lies before
// it.
type link struct {
	broker    *fake.Broker
	cutAnswer atomic.Bool

	mu      sync.Mutex // guards the following
	timeout *time.Timer
}

func (l *link) faults() conformance.Faults {
	b := l.broker
	do := func(f func()) func(context.Context) error {
		return func(context.Context) error { f(); return nil }
	}
	cut := do(func() { b.CutAll() })
	return conformance.Faults{
		Cut:       cut,
		Reset:     cut,
		RefuseNew: do(func() { b.RefuseNew(true) }),
		Blackhole: do(l.blackhole),
		CutAnswer: do(func() { l.cutAnswer.Store(true) }),
		Block:     do(func() { b.Block(true) }),
		Heal:      do(l.heal),
		Restart:   do(b.Restart),
	}
}

// blackhole freezes the broker, and plays the heartbeats that would tell the
// connections of it.
func (l *link) blackhole() {
	l.broker.Freeze(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timeout = time.AfterFunc(silence, func() { l.broker.CutAll() })
}

func (l *link) heal() {
	l.mu.Lock()
	if l.timeout != nil {
		l.timeout.Stop()
	}
	l.mu.Unlock()
	l.cutAnswer.Store(false)
	l.broker.Heal()
	l.broker.RefuseHost("down", true)
}

// driver lets a link come between the core and the broker.
type driver struct {
	messaging.Driver
	link *link
}

func (d *driver) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	c, err := d.Driver.Dial(ctx, ep)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, link: d.link}, nil
}

type conn struct {
	messaging.Conn
	link *link
}

// Send passes the message on. If its answer is to be lost, the broker keeps that
// back until all connections are cut.
func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if !c.link.cutAnswer.CompareAndSwap(true, false) {
		return c.Conn.Send(ctx, to, m, done)
	}
	c.link.broker.HoldConfirms(true)
	err := c.Conn.Send(ctx, to, m, done)
	c.link.broker.CutAll()
	c.link.broker.HoldConfirms(false)
	return err
}
