package rabbit

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/internal/inbox"
	"github.com/patchbay-go/patchbay/messaging"
)

// listener implements messaging.Listener: one source for each queue, whose
// messages gather in one inbox that Poll empties.
type listener struct {
	c        *conn
	reply    string
	direct   bool // replies come without a queue
	prefetch int
	sources  []*source
	inbox    *inbox.Inbox[polled]
	deliver  func(*messaging.Delivery) bool // comes before the inbox; nil: none

	started   chan struct{} // closed when start has returned
	complete  bool          // start has succeeded; valid then
	ended     chan struct{} // closed when Poll has nothing to give any more
	stopped   chan struct{} // closed when all that Stop has to do is done
	returned  int           // by Stop; valid then
	stopOnce  sync.Once
	closeOnce sync.Once
	receiving sync.WaitGroup // the sources' goroutines

	mu  sync.Mutex // protects err
	err error      // why ended is closed
}

var _ messaging.Listener = (*listener)(nil)

// Listen implements messaging.Conn.
func (c *conn) Listen(ctx context.Context, sub messaging.Subscription) (messaging.Listener, error) {
	l, err := c.listen(ctx, sub)
	if err != nil {
		if !errors.Is(err, messaging.ErrPermanent) && !errors.Is(err, messaging.ErrConnLost) && ctx.Err() == nil {
			err = joined(messaging.ErrConnLost, err)
		}
		return nil, &messaging.OpError{Op: "listening on", Addr: describe(sub), Err: err}
	}
	return l, nil
}

func (c *conn) listen(ctx context.Context, sub messaging.Subscription) (*listener, error) {
	plans, err := c.o.plans(sub)
	if err != nil {
		return nil, err
	}
	l := &listener{
		c: c, reply: sub.Reply, direct: plans[0].direct, deliver: sub.Deliver, prefetch: min(sub.Prefetch, math.MaxUint16),
		started: make(chan struct{}), ended: make(chan struct{}), stopped: make(chan struct{}),
	}
	if c.o.prefetch > 0 {
		l.prefetch = c.o.prefetch
	}
	l.prefetch = max(1, l.prefetch)
	l.inbox = inbox.New[polled]()

	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	err = c.Await(ctx, func() error { return l.start(plans) })
	if err != nil {
		c.Spawn(func() { // it may still be starting
			<-l.started
			_ = l.Close(c.Context())
		})
		return nil, err
	}
	return l, nil
}

func (l *listener) start(plans []plan) error {
	defer close(l.started)
	for i := range plans {
		s := newSource(l, plans[i], i+1)
		if s.plan.key != "" {
			s.kept = l.c.memory.of(s.plan.key, l.c)
		}
		if s.plan.prefix != "" {
			if err := l.c.manage(&s.plan, s.kept); err != nil {
				return err
			}
		}
		if l.reply != "" && !s.plan.direct {
			l.reply = s.plan.queue.name
		}
		l.sources = append(l.sources, s)
		if err := s.start(); err != nil {
			return err
		}
	}
	l.complete = true
	return nil
}

// describe returns a subscription in words.
func describe(sub messaging.Subscription) string {
	switch {
	case len(sub.Sources) > 0:
		return sub.Sources[0].String()
	default:
		return messaging.Address{Kind: messaging.KindReply, Direct: sub.Reply}.String()
	}
}

// Address implements messaging.Listener.
func (l *listener) Address() string { return l.reply }

// Poll implements messaging.Listener.
func (l *listener) Poll(ctx context.Context) (*messaging.Delivery, error) {
	for {
		select {
		case <-l.ended:
			return nil, l.failure()
		default:
		}
		if p, ok := l.inbox.Take(); ok {
			if !p.s.lost() { // else the broker has it, for somebody else
				return p.d, nil
			}
			continue
		}
		select {
		case <-l.inbox.Ready():
		case <-l.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *listener) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// end makes Poll return err from now on, if nothing else made it before.
func (l *listener) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = &messaging.OpError{Op: "receiving from", Addr: l.c.Host, Err: err}
		close(l.ended)
	}
}

// Stop implements messaging.Listener. Every message is given back by itself:
// to close the channel instead would count as a failed attempt to deliver them
// all, and a quorum queue drops a message after some of those.
func (l *listener) Stop(ctx context.Context) (int, error) {
	l.end(messaging.ErrClosed)
	l.stopOnce.Do(func() {
		if !l.c.Spawn(l.stop) {
			close(l.stopped) // with the connection
		}
	})
	patience, cancel := l.patience(ctx)
	defer cancel()
	select {
	case <-l.stopped:
		return l.returned, nil
	case <-patience.Done():
	}
	if ctx.Err() == nil {
		return 0, nil
	}
	return 0, &messaging.OpError{Op: "stopping to receive from", Addr: l.c.Host, Err: context.Cause(ctx)}
}

// patience bounds how long the broker is waited for in the end. What has no queue
// gives nothing back, and leaves nothing that does not end with the connection:
// that is not worth waiting for the end of an alarm.
func (l *listener) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if !l.direct {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Second)
}

// stop is the goroutine of Stop. It gives back only when nothing comes any
// more, or what it gave back would come again.
func (l *listener) stop() {
	defer close(l.stopped)
	for _, s := range l.sources {
		s.cancel()
	}
	l.receiving.Wait()
	for {
		p, ok := l.inbox.Take()
		if !ok {
			return
		}
		l.returned += p.giveBack()
	}
}

// polled is a delivery on its way to Poll.
type polled struct {
	d *messaging.Delivery
	s *session
}

func (p polled) giveBack() int {
	switch {
	case p.s.stream != nil:
		return 1 // it stays in the stream
	case p.s.s.plan.direct:
		return 0 // it is nobody else's
	}
	if p.s.refuse(p.d.Tag, true) != nil {
		return 0 // lost: the broker has it already
	}
	return 1
}

// Close implements messaging.Listener.
func (l *listener) Close(ctx context.Context) error {
	_, err := l.Stop(ctx)
	l.closeOnce.Do(func() {
		patience, cancel := l.patience(ctx)
		defer cancel()
		e := l.c.Await(patience, l.free)
		late := patience.Err() != nil && ctx.Err() == nil
		if err == nil && e != nil && !late && l.c.Lost() == nil {
			err = &messaging.OpError{Op: "stopping to receive from", Addr: l.c.Host, Err: e}
		}
	})
	return err
}

// free gives back all that the listener has at the broker.
func (l *listener) free() error {
	var errs []error
	for _, s := range l.sources {
		errs = append(errs, s.free())
	}
	return errors.Join(errs...)
}
