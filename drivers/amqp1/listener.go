package amqp1

import (
	"context"
	"errors"
	"sync"

	"github.com/patchbay-go/patchbay/internal/inbox"
	"github.com/patchbay-go/patchbay/messaging"
)

// maxPrefetch bounds the credit of one link.
const maxPrefetch = 4096

// listener implements messaging.Listener: one source for each node, whose
// messages gather in one inbox that Poll empties.
type listener struct {
	c        *conn
	prefetch int
	sources  []*source
	inbox    *inbox.Inbox[polled]
	deliver  func(*messaging.Delivery) bool // comes before the inbox; nil: none

	started   chan struct{} // closed when start has returned
	ended     chan struct{} // closed when Poll has nothing to give any more
	stopped   chan struct{} // closed when all that Stop has to do is done
	returned  int           // by Stop; valid then
	stopOnce  sync.Once
	closeOnce sync.Once

	mu  sync.Mutex // protects err
	err error      // why ended is closed
}

var _ messaging.Listener = (*listener)(nil)

// polled is a delivery on its way to Poll.
type polled struct {
	d *messaging.Delivery
	r *receiver
}

// giveBack returns a message to the broker as though it had never been
// delivered, and reports whether it did.
func (p polled) giveBack() bool {
	return p.d.Tag&tagSettled == 0 && p.r.settle(p.d.Tag, released) == nil
}

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
	l := &listener{
		c: c, deliver: sub.Deliver, prefetch: min(sub.Prefetch, maxPrefetch), inbox: inbox.New[polled](),
		started: make(chan struct{}), ended: make(chan struct{}), stopped: make(chan struct{}),
	}
	if c.o.prefetch > 0 {
		l.prefetch = c.o.prefetch
	}
	l.prefetch = max(1, l.prefetch)
	plans := c.plans(sub)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	err := c.Await(ctx, func() error { return l.start(plans, sub.Reply != "") })
	if err != nil {
		c.Spawn(func() { // it may still be starting
			<-l.started
			_ = l.Close(c.Context())
		})
		return nil, err
	}
	return l, nil
}

func (l *listener) start(plans []plan, reply bool) error {
	defer close(l.started)
	for _, p := range plans {
		l.sources = append(l.sources, &source{l: l, plan: p, reply: reply})
	}
	var all sync.WaitGroup
	errs := make([]error, len(l.sources))
	for i, s := range l.sources {
		all.Go(func() { errs[i] = s.start() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// describe returns a subscription in words.
func describe(sub messaging.Subscription) string {
	if len(sub.Sources) > 0 {
		return sub.Sources[0].String()
	}
	return messaging.Address{Kind: messaging.KindReply, Direct: sub.Reply}.String()
}

// Address implements messaging.Listener.
func (l *listener) Address() string {
	if len(l.sources) == 1 && l.sources[0].reply {
		return l.sources[0].address
	}
	return ""
}

// Poll implements messaging.Listener.
func (l *listener) Poll(ctx context.Context) (*messaging.Delivery, error) {
	for {
		select {
		case <-l.ended:
			return nil, l.failure()
		default:
		}
		if p, ok := l.inbox.Take(); ok {
			if !p.r.isLost(p.d.Tag) { // else the broker has it, for somebody else
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

func (l *listener) stopping() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// Stop implements messaging.Listener. Every message is given back by itself,
// when no credit is left: while there is some, it would come again.
func (l *listener) Stop(ctx context.Context) (int, error) {
	l.end(messaging.ErrClosed)
	l.stopOnce.Do(func() {
		if !l.c.Spawn(l.stop) {
			close(l.stopped) // with the connection
		}
	})
	select {
	case <-l.stopped:
		return l.returned, nil
	case <-ctx.Done():
		return 0, &messaging.OpError{Op: "stopping to receive from", Addr: l.c.Host, Err: context.Cause(ctx)}
	}
}

// stop is the goroutine of Stop.
func (l *listener) stop() {
	defer close(l.stopped)
	<-l.started
	var all sync.WaitGroup
	for _, s := range l.sources {
		all.Go(s.drain)
	}
	all.Wait()
	l.returned = l.giveBack()
}

// giveBack gives back what waits to be polled, and returns how many those were.
func (l *listener) giveBack() (n int) {
	for p, ok := l.inbox.Take(); ok; p, ok = l.inbox.Take() {
		if p.giveBack() {
			n++
		}
	}
	return n
}

// Close implements messaging.Listener.
func (l *listener) Close(ctx context.Context) error {
	_, err := l.Stop(ctx)
	l.closeOnce.Do(func() {
		if e := l.c.Await(ctx, l.free); err == nil && e != nil && l.c.Lost() == nil {
			err = &messaging.OpError{Op: "stopping to receive from", Addr: l.c.Host, Err: e}
		}
	})
	return err
}

// free gives back all that the listener has at the broker.
func (l *listener) free() error {
	<-l.started
	var all sync.WaitGroup
	errs := make([]error, len(l.sources))
	for i, s := range l.sources {
		all.Go(func() { errs[i] = s.free() })
	}
	all.Wait()
	return errors.Join(errs...)
}
