package messaging

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

// Who comes while a dialling is being given up, because nobody waits for it,
// begins another: the failure was not his.
func TestNewcomerBeginsAnotherDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, err := NewTransport(&secondTime{}, []Codec{nil}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := tr.pool.slots[0]
		var joined *dialing
		tr.life = &looked{tr.life, func() { // at the latest when a dialling has ended
			s.mu.Lock()
			failed := s.why != nil
			s.mu.Unlock()
			if failed && joined == nil {
				joined, _, _ = s.join()
			}
		}}
		s.fill() // and leaves at once
		synctest.Wait()
		if joined == nil {
			t.Fatal("nobody joined")
		}
		<-joined.done
		if joined.err != nil || s.live.Load() != joined.conn || s.dial != nil || s.why != nil {
			t.Errorf("the newcomer got %v, the slot %+v", joined.err, s)
		}
		if err := tr.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// looked calls f whenever somebody asks whether it has ended.
type looked struct {
	context.Context
	f func()
}

func (c *looked) Err() error {
	c.f()
	return c.Context.Err()
}

// secondTime is a driver whose first attempt to dial fails.
type secondTime struct{ dials int }

func (d *secondTime) SingleConn() bool { return false }

func (d *secondTime) Dial(context.Context, Endpoint) (Conn, error) {
	if d.dials++; d.dials == 1 {
		return nil, fmt.Errorf("%w: refused", ErrConnect)
	}
	return idleConn{}, nil
}

// idleConn is a connection that does nothing.
type idleConn struct{ Conn }

func (idleConn) Capabilities() Capabilities  { return Capabilities{} }
func (idleConn) Done() <-chan struct{}       { return nil }
func (idleConn) Close(context.Context) error { return nil }
