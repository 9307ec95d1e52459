package amqp1

import (
	"errors"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// declarations counts what is declared.
type declarations map[string]int

func (d declarations) declare(q *queue) error { d[q.name]++; return nil }
func (d declarations) remove(name string) error {
	delete(d, name)
	return nil
}

// TestQueueIsGone: a notification whose queue was deleted, by somebody else or since
// nobody used it, was not sent, and the next one has its queue again.
func TestQueueIsGone(t *testing.T) {
	p := newPair(t, 100)
	l, link := p.sending()
	p.attach(link, 0)
	p.allow(0, 100, 0, 10, false)
	declared := declarations{}
	c := p.c
	c.address, c.nodes = nativeAddresses{"e"}, newNodes(c, declared)
	c.lanes.init(c)
	c.lanes.all[""] = l
	to := messaging.Address{Kind: messaging.KindNotify, Topic: "t"}
	for id, tt := range []struct {
		state    descriptor
		declared int
		want     error
	}{{stateAccepted, 1, nil}, {stateReleased, 1, messaging.ErrNotSent}, {stateAccepted, 2, nil}} {
		o := make(outcome, 1)
		if err := c.Send(t.Context(), to, &messaging.Message{Ensure: true}, o); err != nil {
			t.Fatal(err)
		}
		p.wantTransfer(uint32(id), false)
		p.peer(performDisposition, codeTrue, codeSmallUint, byte(id), codeNull, codeTrue, 0, 0x53, byte(tt.state), codeList0)
		if err := o.told(t); !errors.Is(err, tt.want) {
			t.Errorf("%d: outcome %v, want %v", id, err, tt.want)
		}
		if n := declared["notify.e.t"]; n != tt.declared {
			t.Errorf("%d: declared %d times", id, n)
		}
	}
}

// TestNodeIsGone is the same where each address has a link, which is refused then.
func TestNodeIsGone(t *testing.T) {
	p, c := attachingPeer(t, false)
	p.empty = true
	close(p.let)
	go func() {
		for {
			select {
			case <-p.again:
			case <-t.Context().Done():
				return
			}
		}
	}()
	declared := declarations{}
	c.p, c.nodes = brokerJ().managed, newNodes(c, declared)
	to := messaging.Address{Kind: messaging.KindNotify, Exchange: "e", Topic: "t"}
	for range 2 {
		if err := c.Send(t.Context(), to, &messaging.Message{Ensure: true}, nil); !errors.Is(err, messaging.ErrNotSent) {
			t.Errorf("%v, want %v", err, messaging.ErrNotSent)
		}
	}
	if n := declared["notify.e.t"]; n != 2 {
		t.Errorf("declared %d times", n)
	}
	// Nobody listens to what needs no queue.
	if err := c.Send(t.Context(), to, &messaging.Message{}, nil); err != nil {
		t.Error(err)
	}
}
