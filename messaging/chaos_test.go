package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
	. "github.com/patchbay-go/patchbay/messaging"
)

// loose is a script that keeps the contract of drivers and no order beyond it: what is
// sent is refused, answered and completed at any time, before Send has returned or
// long after the sender has left, and replies come twice or never.
type loose struct{ *script }

type looseConn struct{ *scriptConn }

func (l loose) Dial(ctx context.Context, ep Endpoint) (Conn, error) {
	c, err := l.script.Dial(ctx, ep)
	if err != nil {
		return nil, err
	}
	return looseConn{c.(*scriptConn)}, nil
}

func (c looseConn) Send(ctx context.Context, _ Address, m *Message, done Completion) error {
	var e Envelope
	if err := (plain{}).Decode(m, &e); err != nil || rand.IntN(20) == 0 || c.Err() != nil || ctx.Err() != nil {
		return fmt.Errorf("%w: refused", ErrNotSent)
	}
	outcome := []error{nil, nil, nil, ErrRejected, ErrNoRoute, ErrNotSent, ErrOutcomeUnknown}[rand.IntN(7)]
	if outcome != nil {
		outcome = fmt.Errorf("%w: own %s", outcome, e.Method)
	}
	steps := []func(){func() { done.Complete(outcome) }, func() { c.answer(&e) }}
	rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		switch rand.IntN(3) {
		case 0:
			step()
		case 1:
			go step()
		default:
			time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, step)
		}
	}
	return nil
}

// answer sends heartbeats, and replies, one too many at times.
func (c looseConn) answer(e *Envelope) {
	if e.CallID == "" {
		return
	}
	for range rand.IntN(3) {
		c.give(&Envelope{CallID: e.CallID}, nil)
	}
	switch rand.IntN(8) {
	case 0:
	case 1:
		c.give(&Envelope{CallID: e.CallID}, fmt.Errorf("own %s", e.Method))
	case 2:
		c.give(reply(*e, "own "+e.Method), nil)
		c.give(reply(*e, "own "+e.Method), nil)
	default:
		c.give(reply(*e, "own "+e.Method), nil)
	}
}

func (c looseConn) give(e *Envelope, lost error) {
	l := c.s.listener()
	d := l.delivery(e)
	d.Lost, d.CorrelationID = lost, e.CallID
	if rand.IntN(2) == 0 && l.sub.Deliver(d) {
		return
	}
	select {
	case l.in <- d:
	case <-l.c.done:
	case <-l.stopped:
	}
}

// Calls and sends are used again, and what becomes of one is never told another, in
// whatever order things happen while connections are lost and callers leave.
func TestEachHasItsOwnOutcome(t *testing.T) {
	const senders, each = 32, 200
	s := &script{}
	d := loose{s}
	s.caps = allCaps
	tr, err := NewTransport(d, []Codec{plain{}}, nil, &Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(senders * each)
	var all sync.WaitGroup
	for n := range senders {
		all.Go(func() {
			for i := range each {
				try(t, tr, fmt.Sprintf("%d/%d.", n, i))
				if left.Add(-1)%500 == 0 { // another connection is cut
					s.conn(rand.IntN(s.dialled())).cut()
				}
			}
		})
	}
	all.Wait()
	if err := tr.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if st := tr.Stats(); st.Calls != 0 || st.Conns != 0 {
		t.Errorf("left: %+v", st)
	}
}

// try makes one call, or sends, and gives up at a random time.
func try(t *testing.T, tr *Transport, name string) {
	parent, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if rand.IntN(8) == 0 {
		time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { cancel(errors.New("own " + name)) })
	}
	own := &lazyctx.Private{}
	own.Init(parent, time.Now().Add(time.Duration(1+rand.IntN(6000))*time.Microsecond))
	defer own.End(nil)
	var ctx context.Context = own
	if rand.IntN(4) == 0 {
		child, leave := context.WithCancel(own) // no Private: it is waited for by its Done
		defer leave()
		ctx = child
	}
	e, o := &Envelope{Method: name}, &SendOptions{Retry: rand.IntN(3) - 1}
	said := ""
	if rand.IntN(4) == 0 {
		if err := tr.Send(ctx, topic, e, o); err != nil {
			said = err.Error()
		}
	} else {
		e.Monitor = time.Duration(rand.IntN(2)*rand.IntN(3000)) * time.Microsecond
		switch r, err := tr.Request(ctx, topic, e, o); {
		case err != nil:
			said = err.Error()
		case r == nil || string(r.Body) != "own "+name:
			t.Errorf("%s: the reply is %+v", name, r)
		}
	}
	if _, of, ok := strings.Cut(said, "own "); ok && !strings.HasPrefix(of, name) { // why there was no connection may follow
		t.Errorf("%s: it was told %q", name, said)
	}
}
