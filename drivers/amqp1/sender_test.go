package amqp1

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestSenderCredit(t *testing.T) {
	p := newPair(t, 100)
	l, link := p.sending()
	p.attach(link, 0)
	if _, err := p.send(cancelled(t), l, "x", true); !errors.Is(err, context.Canceled) {
		t.Errorf("without credit: %v", err)
	}
	p.allow(0, 100, 0, 2, false)
	if o := p.mustSend(l, "x", true); o != nil {
		t.Error("a settled one has an outcome")
	}
	p.wantTransfer(0, false)
	o := p.mustSend(l, "x", false)
	p.wantTransfer(1, false)
	if _, err := p.send(cancelled(t), l, "x", true); !errors.Is(err, context.Canceled) {
		t.Errorf("without credit: %v", err)
	}
	// What the peer says counts from the message that it has.
	p.allow(1, 100, 1, 2, false)
	p.mustSend(l, "x", true)
	p.wantTransfer(2, false)
	if _, err := p.send(cancelled(t), l, "x", true); !errors.Is(err, context.Canceled) {
		t.Errorf("without credit: %v", err)
	}
	o.open(t)
	if !p.peer(performDisposition, codeTrue, codeUint0, codeSmallUint, 9, codeTrue, 0, 0x53, byte(stateAccepted), codeList0) {
		t.Error("an outcome of ours is the library's")
	}
	if err := o.told(t); err != nil {
		t.Error(err)
	}
	// Credit that is taken back is gone, and counted.
	p.allow(3, 100, 3, 5, true)
	what, f, _ := p.next(t)
	if w, err := parseFlow(f); what != performFlow || err != nil || w.deliveryCount != 8 || w.credit != 0 || !w.drain {
		t.Errorf("%#x %+v, %v", what, w, err)
	}
	link.credit.Allow(10) // who was let in before
	if _, err := link.send(&messaging.Message{}, &terminus{}, outgoing{}, true); !errors.Is(err, errNoCredit) {
		t.Errorf("with credit that was taken back: %v", err)
	}
	p.allow(3, 100, 8, 1, false)
	p.mustSend(l, "x", true)
	p.wantTransfer(3, false)
	p.nothing(t)
}

func TestSenderWindow(t *testing.T) {
	p := newPair(t, 2)
	l, link := p.sending()
	p.attach(link, 0)
	p.allow(0, 2, 0, 10, false)
	large := string(bytes.Repeat([]byte("x"), 1000)) // three frames of 512 bytes
	o := p.mustSend(l, large, false)
	payload := append(p.wantTransfer(0, true), p.wantTransfer(0, true)...)
	if _, err := p.send(cancelled(t), l, "x", true); !errors.Is(err, context.Canceled) {
		t.Errorf("without a window: %v", err)
	}
	late := make(chan outcome)
	go func() {
		o, _ := p.send(t.Context(), l, "late", true)
		late <- o
	}()
	p.allow(2, 1, 0, 10, false)
	payload = append(payload, p.wantTransfer(0, false)...)
	if d := (&decoder{}); string(d.message(payload).Body) != large {
		t.Errorf("it arrives as %d bytes", len(payload))
	}
	o.open(t)
	p.allow(3, 2, 1, 10, false)
	if o := <-late; o != nil {
		t.Error("what has not waited has an outcome")
	}
	p.wantTransfer(1, false)
	// One that waits although it is settled is told when it is written.
	big := p.mustSend(l, large, true)
	p.wantTransfer(2, true)
	big.open(t)
	p.allow(5, 2, 2, 10, false)
	p.wantTransfer(2, true)
	p.wantTransfer(2, false)
	if err := big.told(t); err != nil {
		t.Error(err)
	}
}

// TestSmallFrames: a peer that takes less than every peer has to gets that.
func TestSmallFrames(t *testing.T) {
	p := newPair(t, 100)
	p.peer(performOpen, codeNull, codeNull, codeSmallUint, 1)
	l, link := p.sending()
	p.attach(link, 0)
	p.allow(0, 100, 0, 10, false)
	p.mustSend(l, string(make([]byte, 1000)), true)
	for _, more := range []bool{true, true, false} {
		p.wantTransfer(0, more)
	}
}

func TestSenderLimit(t *testing.T) {
	p := newPair(t, 100)
	l, link := p.sending()
	p.attach(link, 200)
	p.allow(0, 100, 0, 10, false)
	if _, err := p.send(t.Context(), l, string(make([]byte, 200)), true); !errors.Is(err, messaging.ErrTooLarge) {
		t.Error(err)
	}
	p.mustSend(l, string(make([]byte, 100)), true)
	p.wantTransfer(0, false)
}

// TestOutcomes: what a disposition means.
func TestOutcomes(t *testing.T) {
	reason := []byte{0, 0x53, byte(stateRejected), codeList8, 15, 1, 0, 0x53, byte(typeError), codeList8, 9, 2, codeSymbol8, 1, 'c', codeString8, 3, 'w', 'h', 'y'}
	reason[4] = byte(len(reason) - 5)
	reason[10] = byte(len(reason) - 11)
	for _, tt := range []struct {
		state []byte
		p     *profile
		must  bool
		want  error
	}{
		{[]byte{0, 0x53, byte(stateAccepted), codeList0}, rabbitMQ(), true, nil},
		{reason, artemis(), false, messaging.ErrRejected},
		{[]byte{0, 0x53, byte(stateReleased), codeList0}, rabbitMQ(), true, messaging.ErrNoRoute},
		{[]byte{0, 0x53, byte(stateReleased), codeList0}, rabbitMQ(), false, nil},
		{[]byte{0, 0x53, byte(stateModified), codeList0}, artemis(), true, messaging.ErrNotSent},
		{[]byte{codeNull}, artemis(), true, messaging.ErrOutcomeUnknown},
	} {
		p := newPair(t, 100)
		p.c.p = tt.p
		l, link := p.sending()
		p.attach(link, 0)
		p.allow(0, 100, 0, 10, false)
		o := make(outcome, 1)
		if _, err := l.send(t.Context(), &messaging.Message{}, &terminus{}, outgoing{c: o, must: tt.must}, false); err != nil {
			t.Fatal(err)
		}
		p.wantTransfer(0, false)
		p.peer(performDisposition, append([]byte{codeTrue, codeUint0, codeNull, codeTrue}, tt.state...)...)
		if err := o.told(t); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%x: %v, want %v", tt.state, err, tt.want)
		}
	}
}

// TestSenderEnds: who waits for an outcome learns whether something was written.
func TestSenderEnds(t *testing.T) {
	ends := map[string]func(*pair){
		"link":       func(p *pair) { p.peer(performDetach, codeUint0, codeTrue) },
		"session":    func(p *pair) { p.peer(performEnd) },
		"connection": func(p *pair) { p.c.frames.end(errors.New("lost")) },
	}
	for name, end := range ends {
		p := newPair(t, 1)
		l, link := p.sending()
		p.attach(link, 0)
		p.allow(0, 1, 0, 10, false)
		p.s.mu.Lock()
		p.s.window = 1
		p.s.mu.Unlock()
		written := p.mustSend(l, "x", false)
		p.wantTransfer(0, false)
		link.credit.Block(false) // as one that was let in before
		waits := p.mustSend(l, "x", false)
		end(p)
		if err := written.told(t); !errors.Is(err, messaging.ErrOutcomeUnknown) {
			t.Errorf("%s: what was written: %v", name, err)
		}
		if err := waits.told(t); !errors.Is(err, messaging.ErrNotSent) {
			t.Errorf("%s: what was not: %v", name, err)
		}
		if _, err := link.send(&messaging.Message{}, &terminus{}, outgoing{}, true); !errors.Is(err, errLinkEnded) {
			t.Errorf("%s: %v", name, err)
		}
		if err := link.credit.Enter(t.Context(), 0); !errors.Is(err, errLinkEnded) {
			t.Errorf("%s: %v", name, err)
		}
		if link.why() == nil {
			t.Errorf("%s: nobody knows why", name)
		}
		end(p) // nothing is told twice
		p.nothing(t)
	}
}

// TestSenderVastCredit: a peer may allow all that a number can say, of messages and of
// frames.
func TestSenderVastCredit(t *testing.T) {
	p := newPair(t, 2)
	l, link := p.sending()
	p.attach(link, 0)
	vast := []byte{codeUint, 0xff, 0xff, 0xff, 0xff}
	flow := func(seen byte, window, credit []byte) {
		list := append([]byte{codeSmallUint, seen}, window...)
		list = append(list, codeUint0, codeSmallUint, 8, codeUint0, codeSmallUint, seen)
		p.peer(performFlow, append(list, credit...)...)
	}
	flow(0, vast, vast)
	for id := range uint32(5) {
		if _, err := p.send(cancelled(t), l, "x", true); err != nil {
			t.Fatal(err)
		}
		p.wantTransfer(id, false)
	}
	// It counts from what the peer has, and has not less than was sent.
	flow(1, []byte{codeSmallUint, 3}, vast)
	if _, err := p.send(cancelled(t), l, "x", true); !errors.Is(err, context.Canceled) {
		t.Errorf("beyond the window: %v", err)
	}
	flow(5, vast, vast)
	if _, err := p.send(cancelled(t), l, "x", true); err != nil {
		t.Error(err)
	}
	p.wantTransfer(5, false)
	p.nothing(t)
}

// TestNothingKept: of what waited for the window nothing is kept when it is written.
func TestNothingKept(t *testing.T) {
	p := newPair(t, 1)
	l, link := p.sending()
	p.attach(link, 0)
	p.allow(0, 1, 0, 10, false)
	p.mustSend(l, string(make([]byte, 2000)), true)
	p.wantTransfer(0, true)
	for seen, more := range []bool{true, true, true, false} {
		p.allow(byte(seen+1), 1, 0, 10, false)
		p.wantTransfer(0, more)
	}
	for i, w := range p.s.waiting[:cap(p.s.waiting)] {
		if w.frame != nil || w.from != nil {
			t.Errorf("place %d keeps a frame of %d bytes", i, len(w.frame))
		}
	}
}

// broken is a socket that takes nothing.
type broken struct{ socket }

func (*broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

// TestHalfWritten: a message of which the end could not be written was not accepted.
func TestHalfWritten(t *testing.T) {
	p := newPair(t, 100)
	l, link := p.sending()
	p.attach(link, 0)
	p.allow(0, 100, 0, 10, false)
	p.c.frames.Conn = coalesce.New(&broken{}, coalesce.Options{Limit: 1})
	o := p.mustSend(l, string(make([]byte, 2000)), true)
	if o == nil {
		t.Fatal("it was accepted")
	}
	o.open(t)
	p.c.frames.end(messaging.ErrConnLost)
	if err := o.told(t); !errors.Is(err, messaging.ErrOutcomeUnknown) {
		t.Errorf("outcome %v", err)
	}
}
