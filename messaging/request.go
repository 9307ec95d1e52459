package messaging

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Request sends e as a call and waits for the reply that ends it. It fills in
// e.ID, e.CallID, e.ReplyTo and e.Timeout. ctx must have a deadline: a call
// without one could wait for ever. The reply may be a failure
// (Envelope.Failed): that is the caller's to interpret.
//
// An error is an *OpError and matches one of
//   - ErrNotSent, ErrNoRoute, ErrRejected, ErrOutcomeUnknown: the outcome of the
//     sending; unknown means that its connection was lost before any answer
//   - ErrTimeout: the deadline passed
//   - ErrServerLost: with e.Monitor set, neither heartbeat nor reply came for
//     that long; or a driver without a broker saw the server go, and ErrNoRoute
//     too if it certainly has not begun the request
//   - ErrReplyLost: the address that the reply would be sent to is gone
//   - context.Canceled, ErrClosed
//
// The reply is settled.
func (t *Transport) Request(ctx context.Context, to Address, e *Envelope, o *SendOptions) (*Incoming, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, &OpError{Op: "calling", Addr: to.String(), Err: fmt.Errorf("%w: %w: a call needs a deadline", ErrNotSent, ErrPermanent)}
	}
	if o == nil {
		o = &SendOptions{}
	}
	tries := 0
	for {
		reply, err := t.request(ctx, to, e, o, &tries)
		if err == nil {
			return reply, nil
		}
		// What dispatch reported was tried again already. The rest is a late "not
		// sent", or found out before there was anything to send.
		op, isOp := err.(*OpError) //nolint:errorlint // only the outermost
		switch {
		case isOp:
			return nil, &OpError{Op: "calling", Addr: to.String(), Err: op.Err}
		case errors.Is(err, errMoved):
		case !t.retry(ctx, to, o, &tries, err):
			return nil, &OpError{Op: "calling", Addr: to.String(), Err: err}
		}
	}
}

// errMoved: the reply address of a request that is not sent yet is not ours any
// more.
var errMoved = errors.New("the reply address has changed")

func (t *Transport) request(ctx context.Context, to Address, e *Envelope, o *SendOptions, tries *int) (*Incoming, error) {
	if o.Retry != 0 {
		// The reply listener would wait for a connection until ctx ends.
		if _, err := t.pool.get(ctx, o.OrderKey, 1); err != nil {
			return nil, err
		}
	}
	reply, err := t.calls.address(ctx)
	if err != nil {
		return nil, &OpError{Op: "listening for replies", Err: fmt.Errorf("%w: %w", ErrNotSent, err)}
	}
	if e.ID == "" {
		e.ID = t.ids.next()
	}
	c := t.calls.add(to, e.ID, reply)
	defer c.release()
	defer t.calls.remove(c)
	e.CallID, e.ReplyTo = c.id, reply
	if err := t.dispatch(ctx, to, e, o, c, &c.sending, tries, true); err != nil {
		c.refs.Add(-1)
		return nil, err
	}
	answer, err := c.wait(ctx, e.Monitor)
	if err != nil && c.beat != nil {
		t.abandon(c.beat)
	}
	return answer, err
}

// call is one call that waits, and the Completion of its request. It is
// used again: the caller and the driver each hold a reference.
type call struct {
	sending
	to     Address
	id     string
	reply  string     // the address it waits at
	events chan event // replies, failures, heartbeats, and what alarm tells
	beat   *Incoming  // the last heartbeat; the caller's own
	ended  bool       // a reply came, which took it out of its shard; the caller's own
	shard  *callShard // which it waits in; always the same
	refs   atomic.Int32
	alarm  alarm
}

// event is one of what may happen to a wait: a reply, a failure, a heartbeat, or
// that the alarm rang. An outcome is one without any of these, or an error.
type event struct {
	reply *Incoming
	err   error
	beat  *Incoming
	rang  bool
}

// callEvents is how many events a call has room for: two heartbeats, two rings of its
// alarm, an old one and its own, and what ends it.
const callEvents = 5

// tell adds an event. Heartbeats, of which one at a time is told, leave room for what
// ends the call.
func (c *call) tell(e event) {
	if e.beat != nil && len(c.events) > 1 {
		return
	}
	select {
	case c.events <- e:
	default:
	}
}

// Complete implements Completion.
func (c *call) Complete(err error) {
	c.settle(c.to, err)
	if err != nil {
		c.tell(event{err: err})
	}
	c.release()
}

// wait waits for the end of the call.
func (c *call) wait(ctx context.Context, monitor time.Duration) (*Incoming, error) {
	var silence <-chan time.Time
	var timer *time.Timer
	var due time.Time // when the silence is too long
	if monitor > 0 {
		due = time.Now().Add(monitor)
		timer = time.NewTimer(monitor)
		defer timer.Stop()
		silence = timer.C
	}
	done := c.alarm.set(ctx, c.events)
	for {
		select {
		case ev := <-c.events:
			switch {
			case c.take(&ev):
				return ev.reply, ev.err
			case ev.rang:
				if c.alarm.isOver() {
					return c.giveUp(ctx)
				}
			case timer != nil:
				due = time.Now().Add(monitor)
				timer.Reset(monitor)
			}
		case <-silence:
			if now := time.Now(); now.Sub(due) > monitor/16 { // we stood still: what came meanwhile is yet to be read
				due = now.Add(monitor / 2)
				timer.Reset(monitor / 2)
				continue
			}
			return nil, fmt.Errorf("%w: no heartbeat for %v", ErrServerLost, monitor)
		case <-done:
			return c.giveUp(ctx)
		}
	}
}

// take notes what the call was told, and reports whether that is its end.
func (c *call) take(ev *event) bool {
	switch {
	case ev.reply != nil:
		c.ended = true
	case ev.beat != nil:
		c.beat = ev.beat // whose server is to know, if we give up
	}
	return ev.reply != nil || ev.err != nil
}

// giveUp ends the wait because ctx has ended, unless what ended the call was told
// before: of two that are there, a select takes either.
func (c *call) giveUp(ctx context.Context) (*Incoming, error) {
	for {
		select {
		case ev := <-c.events:
			if c.take(&ev) {
				return ev.reply, ev.err
			}
		default:
			return nil, gaveUpCall(ctx)
		}
	}
}

// gaveUpCall returns the error of a call whose context ended.
func gaveUpCall(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case cause == context.DeadlineExceeded: //nolint:errorlint // the plain one says nothing more than ErrTimeout
		return ErrTimeout
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrTimeout, cause)
	}
	return cause
}

func (c *call) release() {
	if c.refs.Add(-1) > 0 {
		return
	}
	for {
		select {
		case <-c.events:
			continue
		default:
		}
		break
	}
	s := c.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	*c = call{shard: s, events: c.events, alarm: c.alarm}
	if !s.free.put(c) {
		c.alarm.stop()
	}
}

// callTable matches replies to the calls that wait. It is sharded, since every
// call takes a lock in it three times.
type callTable struct {
	t       *Transport
	shards  [16]callShard
	stream  atomic.Pointer[Stream] // of replies; nil until the first call; written under mu
	mu      sync.Mutex
	opening chan struct{} // closed when the opening under way has ended
	openErr error         // of the last opening; while one is under way, why it fails so far
}

type callShard struct {
	mu      sync.Mutex
	calls   map[string]*call    // that wait here
	watched map[string][]*Watch // by call, of those that are handled here
	free    freelist[*call]
}

func newCallTable(t *Transport) *callTable {
	r := &callTable{t: t}
	for i := range r.shards {
		r.shards[i] = callShard{calls: make(map[string]*call), watched: make(map[string][]*Watch)}
	}
	return r
}

func (r *callTable) shard(id string) *callShard {
	return &r.shards[maphash.String(r.t.seed, id)%uint64(len(r.shards))]
}

// add enters a call under its message's id, or under another if a call with
// that id waits already.
func (r *callTable) add(to Address, id, reply string) *call {
	r.t.count.calls.Add(1)
	for {
		if c := r.shard(id).add(to, id, reply); c != nil {
			c.sending.t = r.t
			return c
		}
		id = r.t.ids.next()
	}
}

func (s *callShard) add(to Address, id, reply string) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.calls[id]; taken {
		return nil
	}
	c, ok := s.free.get()
	if !ok {
		c = &call{shard: s, events: make(chan event, callEvents)}
	}
	c.to, c.id, c.reply = to, id, reply
	c.refs.Store(2)
	s.calls[id] = c
	return c
}

func (r *callTable) remove(c *call) {
	r.t.count.calls.Add(-1)
	if c.ended {
		return
	}
	s := c.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[c.id] == c { // else it was answered, and the id may be another's
		delete(s.calls, c.id)
	}
}

// deliver tells the call with that id, if it waits; a final event is its last.
func (r *callTable) deliver(id string, ev event, final bool) bool {
	s := r.shard(id)
	s.mu.Lock()
	// Held while telling: a call that is in the table cannot be recycled meanwhile. One
	// that was taken out of it may be, from when it is told on: tell is done with it then.
	defer s.mu.Unlock()
	c, ok := s.calls[id]
	if !ok {
		return final && s.tellWatch(id)
	}
	if final {
		delete(s.calls, id)
	}
	c.tell(ev)
	return true
}

// fail ends every call for which which says so.
func (r *callTable) fail(err error, which func(*call) bool) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for _, c := range s.calls {
			if which(c) {
				c.tell(event{err: err})
			}
		}
		s.mu.Unlock()
	}
}

func (r *callTable) failAll(err error) { r.fail(err, func(*call) bool { return true }) }
