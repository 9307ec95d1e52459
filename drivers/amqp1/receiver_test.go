package amqp1

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
)

func TestReceiver(t *testing.T) {
	p := newPair(t, 100)
	r := p.receiving()
	p.deliver(0, "one")
	p.deliver(1, "two")
	one, two := p.polled(r, "one"), p.polled(r, "two")
	if err := r.Settle(t.Context(), one.d, messaging.Ack); err != nil {
		t.Fatal(err)
	}
	what, f, _ := p.next(t) // before the credit that is free for it
	want := disposition{receiver: true, settled: true, state: stateAccepted}
	if d, err := parseDisposition(f); err != nil || what != performDisposition || !cmp.Equal(d, want, cmp.AllowUnexported(disposition{})) {
		t.Errorf("%#x %+v, %v", what, d, err)
	}
	p.wantFlow(7, 1, false)
	if err := r.Settle(t.Context(), two.d, messaging.Requeue); err != nil {
		t.Fatal(err)
	}
	if _, f, _ = p.next(t); f.err != nil {
		t.Error(f.err)
	}
	p.wantFlow(7, 2, false)

	// In frames, and in the end.
	whole := message("a message in three frames")
	for i, part := range [][]byte{whole[:10], whole[10:11], whole[11:]} {
		if err := p.transfer(transfer{id: 2, first: i == 0, more: i < 2}, part); err != nil {
			t.Fatal(err)
		}
	}
	three := p.polled(r, "a message in three frames")
	// Taken back, which frees its place.
	if err := p.transfer(transfer{id: 3, first: true, more: true}, whole[:9]); err != nil {
		t.Fatal(err)
	}
	if ours, err := p.c.frames.take(performative(performTransfer, 10, codeUint0, 0x40, 0x40, 0x40, 0x40, codeFalse, 0x40, 0x40, 0x40, codeTrue)); err != nil || !ours {
		t.Error(ours, err)
	}
	p.wantFlow(9, 1, false)
	if _, ok := r.s.l.inbox.Take(); ok {
		t.Error("what was taken back is delivered")
	}
	p.peer(performDetach, codeUint0, codeTrue)
	<-r.over
	if err := r.Settle(t.Context(), three.d, messaging.Ack); !errors.Is(err, messaging.ErrConnLost) {
		t.Errorf("settling over a link that has ended: %v", err)
	}
	if !r.isLost(three.d.Tag) || r.isLost(three.d.Tag|tagSettled) {
		t.Error("what is lost")
	}
}

// TestReceiverAcknowledges: what is accepted is written with few dispositions.
func TestReceiverAcknowledges(t *testing.T) {
	p := newPair(t, 100)
	r := p.receiving()
	r.credit.stopped = true    // no flows
	start := uint32(1<<32 - 3) // numbers wrap around
	for i := range uint32(8) {
		p.deliver(start+i, "x")
	}
	got := map[uint32]polled{}
	for range 8 {
		d := p.polled(r, "x")
		got[uint32(d.d.Tag)] = d //nolint:gosec // its lower half
	}
	for _, i := range []uint32{2, 1, 3, 6, 5, 0} {
		if err := r.Settle(t.Context(), got[start+i].d, messaging.Ack); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.acknowledge()
	}()
	for _, want := range [][2]uint32{{start, start + 3}, {start + 5, start + 6}} {
		what, f, _ := p.next(t)
		d, err := parseDisposition(f)
		if err != nil || what != performDisposition || !d.receiver || !d.settled || d.state != stateAccepted || d.first != want[0] || d.last != want[1] {
			t.Errorf("%#x %+v, %v; want %v", what, d, err, want)
		}
	}
	if err := r.Settle(t.Context(), got[start+4].d, messaging.Ack); err != nil {
		t.Fatal(err)
	}
	if _, f, _ := p.next(t); f.err != nil || f.left != 5 {
		t.Error("what came later is not acknowledged")
	}
	p.peer(performDetach, codeUint0, codeTrue)
	<-done
	r.flush()
	p.nothing(t)
}

// TestReceiverSettled: nothing is said of what the peer has settled.
func TestReceiverSettled(t *testing.T) {
	p := newPair(t, 100)
	r := p.receiving()
	for id := range uint32(2) {
		if err := p.transfer(transfer{id: id, first: true, settled: true}, message("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Settle(t.Context(), p.polled(r, "x").d, messaging.Ack); err != nil {
		t.Fatal(err)
	}
	p.wantFlow(7, 1, false)
	if p.polled(r, "x").giveBack() {
		t.Error("what is settled was given back")
	}
	p.nothing(t)
}

func TestReceiverDrains(t *testing.T) {
	p := newPair(t, 100)
	r := p.receiving()
	p.deliver(0, "x")
	close(r.s.l.ended)
	r.credit.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.drain(t.Context())
	}()
	p.wantFlow(6, 1, true)
	p.deliver(1, "late") // it was on its way, and goes back
	what, f, _ := p.next(t)
	if d, err := parseDisposition(f); what != performDisposition || err != nil || d.state != stateReleased || d.first != 1 {
		t.Errorf("%#x %+v, %v", what, d, err)
	}
	<-done
	p.polled(r, "x")
	r.drain(t.Context()) // there is none left
	p.nothing(t)

	// One that has nothing to send says so.
	p = newPair(t, 100)
	r = p.receiving()
	go r.drain(t.Context())
	p.wantFlow(5, 2, true)
	p.allow(0, 100, 7, 0, true)
	<-r.drained
}

// TestNothingIsLeftByStop: what comes while the listener stops goes back.
func TestNothingIsLeftByStop(t *testing.T) {
	for range 500 {
		p := newPair(t, 100)
		r := p.receiving()
		var both sync.WaitGroup
		both.Go(func() {
			if err := p.transfer(transfer{first: true}, message("x")); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			close(r.s.l.ended)
			r.credit.stop()
			r.s.l.giveBack()
		})
		both.Wait()
		if n := r.s.l.inbox.Len(); n > 0 {
			t.Fatalf("%d messages are held", n)
		}
		p.c.raw.Abort()
	}
}

// TestReceiverBounds: a peer that ignores what it is told is not read any more.
func TestReceiverBounds(t *testing.T) {
	p := newPair(t, 100)
	r := p.receiving()
	// A message larger than the limit is not kept, and read as one that cannot be.
	p.deliver(0, string(make([]byte, 1001)))
	if got, _ := r.s.l.inbox.Take(); len(got.d.Body) > 0 || got.d.ContentType == "c" {
		t.Errorf("%d bytes are delivered", len(got.d.Body))
	}
	big := message(string(make([]byte, maxAround+1000)))
	for at := 0; at < len(big); {
		n := min(100_000, len(big)-at)
		if err := p.transfer(transfer{first: at == 0, more: at+n < len(big)}, big[at:at+n]); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	if got, _ := r.s.l.inbox.Take(); len(got.d.Body) > 0 || got.d.ContentType == "c" {
		t.Errorf("%d bytes are delivered", len(got.d.Body))
	}
	if cap(r.part.payload) > keptBuffer {
		t.Errorf("%d bytes are kept", cap(r.part.payload))
	}
	if err := p.transfer(transfer{}, nil); err == nil {
		t.Error("the rest of nothing is read")
	}
	var err error
	sent := 0
	for ; err == nil && sent < 10*maxSurplus; sent++ {
		err = p.transfer(transfer{id: 1, first: true}, message("x"))
	}
	if err == nil || sent > maxSurplus+10 {
		t.Errorf("%d messages were read: %v", sent, err)
	}
}

// TestNoCreditWhenOver: a listener that has failed, as when another of its nodes is gone,
// gives back what comes until it is closed, and asks for no more: the same would come.
func TestNoCreditWhenOver(t *testing.T) {
	p := newPair(t, 100)
	r := p.receiving()
	r.s.l.end(errors.New("a node is gone"))
	for id := range uint32(2) {
		p.deliver(id, "x")
		what, f, _ := p.next(t)
		if d, err := parseDisposition(f); err != nil || what != performDisposition || d.first != id || d.state != stateReleased {
			t.Errorf("%#x %+v, %v", what, d, err)
		}
	}
	if r.credit.given > 0 {
		t.Errorf("a credit of %d is given", r.credit.given)
	}
	p.nothing(t)
}
