package messaging

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Watch is the server's end of a monitored call: it sends the heartbeats, and
// learns that the caller does not wait any more.
//
// The heartbeats carry a reply address of the server, once it has one. A caller that gave up
// tells it at once, and again for each heartbeat of a call it does not know. This
// is an addition to oslo.messaging, whose clients ignore the address: for their
// calls, Gone is closed only when nobody is at the caller's address.
type Watch struct {
	t     *Transport
	in    *Incoming
	gone  chan struct{}
	ended bool // gone is closed; guarded by the shard's lock
}

// Watch begins to watch a monitored call. It has the transport's reply listener
// opened if there is none yet, and does not wait for that: a heartbeat must not
// come late because a connection is slow. Close it when the call is answered. The
// error is ErrClosed.
func (t *Transport) Watch(in *Incoming) (*Watch, error) {
	if _, err := t.calls.addressNow(); err != nil {
		return nil, &OpError{Op: "listening for the end of a call", Err: err}
	}
	w := &Watch{t: t, in: in, gone: make(chan struct{})}
	s := t.calls.shard(in.CallID)
	s.mu.Lock()
	s.watched[in.CallID] = append(s.watched[in.CallID], w) // one that came again is handled twice
	s.mu.Unlock()
	return w, nil
}

// minBeat bounds how often a caller can make a server send heartbeats.
const minBeat = 10 * time.Millisecond

// Interval is how often a heartbeat is due: every half of what the caller waits for
// one, and no more often than every 10 ms.
func (w *Watch) Interval() time.Duration { return max(w.in.Monitor/2, minBeat) }

// Beat sends one heartbeat and waits for its outcome, but not for longer than until
// the next one is due. ErrReplyRefused and ErrNoRoute mean that the caller is gone.
func (w *Watch) Beat(ctx context.Context) error {
	address, _ := w.t.calls.addressNow() // without one the caller cannot tell, which is all
	e := &Envelope{ReplyTo: address}
	due, cancel := context.WithTimeout(ctx, w.Interval())
	defer cancel()
	err := w.t.ReplyOnce(due, w.in, e)
	if errors.Is(err, ErrNoRoute) && !errors.Is(err, ErrReplyRefused) {
		return w.t.Reply(ctx, w.in, e) // which knows how long a caller may be away
	}
	return err
}

// Gone is closed when the caller said that it does not wait any more.
func (w *Watch) Gone() <-chan struct{} { return w.gone }

// Close ends the watch.
func (w *Watch) Close() {
	s := w.t.calls.shard(w.in.CallID)
	s.mu.Lock()
	defer s.mu.Unlock()
	id := w.in.CallID
	left := slices.DeleteFunc(s.watched[id], func(other *Watch) bool { return other == w })
	if s.watched[id] = left; len(left) == 0 {
		delete(s.watched, id)
	}
}

// tellWatch tells whoever handles that call that it is over. s.mu is held.
func (s *callShard) tellWatch(id string) bool {
	for _, w := range s.watched[id] {
		if !w.ended {
			w.ended = true
			close(w.gone)
		}
	}
	return len(s.watched[id]) > 0
}

// abandonTime bounds the telling: the next heartbeat is another chance.
const abandonTime = 5 * time.Second

// abandon tells the server of a heartbeat that nobody waits for its call.
func (t *Transport) abandon(beat *Incoming) {
	if beat.ReplyTo == "" {
		return
	}
	select {
	case t.leave <- struct{}{}:
	default:
		return // busy telling others
	}
	id, to, codec := beat.CallID, Address{Kind: KindReply, Direct: beat.ReplyTo}, beat.codec
	if !t.start(func() {
		defer func() { <-t.leave }()
		ctx, cancel := context.WithTimeout(t.life, abandonTime)
		defer cancel()
		// Whoever cannot be told notices in another way.
		_ = t.Send(ctx, to, &Envelope{
			Kind: KindReply, CallID: id, Final: true, Failed: true,
			Body: []byte(`{"class": "CancelledError", "module": "asyncio.exceptions", "message": "the caller does not wait any more", "tb": [], "args": [], "kwargs": {}}`),
		}, &SendOptions{Codec: codec, Retry: -1})
	}) {
		<-t.leave
	}
}
