package amqp1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestSessionWindow: a peer that has used half of the session's window gets it again.
func TestSessionWindow(t *testing.T) {
	p := newPair(t, 100)
	p.receiving()
	for id := range uint32(150) {
		p.deliver(id, "x")
	}
	what, f, _ := p.next(t)
	if w, err := parseFlow(f); err != nil || what != performFlow || w.link || w.nextIncoming != 100 || w.incomingWindow != 200 {
		t.Errorf("%#x %+v, %v", what, w, err)
	}
	// It may ask, too.
	p.peer(performFlow, codeUint0, codeSmallUint, 100, codeUint0, codeUint0, codeNull, codeNull, codeNull, codeNull, codeFalse, codeTrue)
	if _, f, _ := p.next(t); f.left != 4 {
		t.Errorf("an answer of %d fields", f.left)
	}
	p.nothing(t)
}

// TestLibrarysSessions: what is no session of ours is passed on.
func TestLibrarysSessions(t *testing.T) {
	p := newPair(t, 100)
	p.library(performAttach, appendText([]byte(nil), codeString8, "link")...)
	p.answer(0)
	for what, list := range map[descriptor][]byte{
		performFlow:        {codeUint0, codeUint0, codeUint0, codeUint0, codeUint0, codeUint0, codeUint0, codeNull, codeFalse, codeTrue},
		performTransfer:    {codeUint0, codeUint0},
		performDisposition: {codeTrue, codeUint0},
		performDetach:      {codeUint0},
		performEnd:         nil,
		0x18:               nil,
	} {
		if p.peer(what, list...) {
			t.Errorf("%#x is taken", what)
		}
	}
	p.nothing(t)
	for _, frame := range [][]byte{{0, 0, 0, 8, 2, 0, 0, 0}, {0, 0, 0, 12, 2, 1, 0, 0, 0, 0x53, 0x44, 0x45}, {0, 0, 0, 9, 2, 0, 0, 0, 0}} {
		if ours, err := p.c.frames.take(frame); ours || err != nil {
			t.Errorf("% x: %v, %v", frame, ours, err)
		}
	}
}

// TestNoChannel: Artemis says something of a link of a session that has just ended
// without a channel, and the library would end the connection for it.
func TestNoChannel(t *testing.T) {
	p := newPair(t, 100)
	for channel, want := range map[uint16]bool{noChannel: true, noChannel - 1: false} {
		frame := performative(performFlow, 4, codeUint0, codeUint0, codeUint0, codeUint0)
		binary.BigEndian.PutUint16(frame[6:], channel)
		if ours, err := p.c.frames.take(frame); ours != want || err != nil {
			t.Errorf("a flow on channel %d: taken %v, %v", channel, ours, err)
		}
	}
}

// TestSessionBounds: a peer cannot make us remember links without end.
func TestSessionBounds(t *testing.T) {
	p := newPair(t, 100)
	_, link := p.sending()
	p.attach(link, 0)
	for n := range uint32(10 * maxLinks) {
		list := appendUint(appendText([]byte(nil), codeString8, "link"), n)
		if _, err := p.c.frames.take(performative(performAttach, 2, list...)); err != nil {
			return
		}
	}
	t.Errorf("%d links are remembered", len(p.s.links))
}

// FuzzTake: whatever a peer sends on sessions of ours, reading it ends.
func FuzzTake(f *testing.F) {
	add := func(sending bool, frames ...[]byte) { f.Add(sending, bytes.Join(frames, nil)) }
	add(true, performative(performFlow, 7, codeUint0, codeSmallUint, 9, codeUint0, codeUint0, codeUint0, codeUint0, codeSmallUint, 9))
	add(true, performative(performDisposition, 5, codeTrue, codeUint0, codeSmallUint, 3, codeTrue, 0, 0x53, 0x24, codeList0))
	add(false, performative(performDetach, 1, codeUint0), performative(performEnd, 0))
	b, at := appendTransfer(nil, channel, transfer{id: 1, first: true})
	add(false, endFrame(append(b, message("x")...), at))
	f.Fuzz(func(t *testing.T, sending bool, in []byte) {
		p := newPair(t, 100)
		var r *receiver
		var link *sender
		if sending {
			var l *lane
			l, link = p.sending()
			p.attach(link, 0)
			p.allow(0, 100, 0, 1, false)
			p.mustSend(l, "x", false)
		} else {
			r = p.receiving()
		}
		for len(in) >= frameHead {
			size, err := sizeOf(in)
			if err != nil || size > len(in) {
				break
			}
			if _, err := p.c.frames.take(in[:size]); err != nil {
				break
			}
			in = in[size:]
		}
		if link != nil { // whatever the peer said of itself
			_, _ = link.send(&messaging.Message{Body: make([]byte, 2000)}, &terminus{}, outgoing{}, false)
		}
		p.c.frames.end(errors.New("over"))
		if r != nil {
			<-r.over
		}
	})
}
