package amqp1

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// attaching is a peer of one connection. It detaches the first link as soon as that is
// attached, and attaches the others when the test lets it.
type attaching struct {
	testing.TB
	net.Conn
	first bool          // the first link was attached, and detached
	again chan struct{} // another is to be
	let   chan struct{} // closed by the test: it is
	deaf  bool          // it gives credit to a link, and then reads nothing any more
	empty bool          // it has no node to attach a link to
}

// attachingPeer returns such a peer, and a connection to it. Unless the first link is to be
// detached, it waits for the test, too.
func attachingPeer(tb testing.TB, detaches bool) (*attaching, *conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &attaching{TB: tb, first: !detaches, again: make(chan struct{}), let: make(chan struct{})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		var err error
		if p.Conn, err = l.Accept(); err == nil {
			p.serve()
			_ = p.Conn.Close()
		}
	}()
	tb.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	u, err := messaging.ParseURL("amqp1://" + l.Addr().String() + "/?broker=generic")
	if err != nil {
		tb.Fatal(err)
	}
	d, _, err := Open(u, nil)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := d.Dial(tb.Context(), messaging.Endpoint{Host: u.Hosts[0].HostPort(), Credentials: func(context.Context) (messaging.Credentials, error) {
		return messaging.Credentials{}, nil
	}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return p, c.(*conn)
}

// serve answers whatever the library says, until it closes the connection.
func (p *attaching) serve() {
	for {
		head := make([]byte, frameHead)
		if _, err := io.ReadFull(p.Conn, head); err != nil {
			return
		}
		if string(head[:4]) == "AMQP" {
			const sasl = 3
			p.write(head)
			if head[4] == sasl {
				p.say(saslFrame, saslMechanisms, 0, appendText([]byte(nil), codeSymbol8, mechanismAnonymous)...)
			}
			continue
		}
		size, err := sizeOf(head)
		if err != nil {
			p.Error(err)
			return
		}
		frame := append(head, make([]byte, size-frameHead)...)
		if _, err := io.ReadFull(p.Conn, frame[frameHead:]); err != nil {
			return
		}
		if !p.answer(frame) {
			return
		}
	}
}

const (
	amqpFrame = 0
	saslFrame = 1

	saslMechanisms descriptor = 0x40
	saslOutcome    descriptor = 0x44
	performClose   descriptor = 0x18
)

// answer answers a frame, and reports whether the connection goes on.
func (p *attaching) answer(frame []byte) bool {
	if frame[5] == saslFrame {
		p.say(saslFrame, saslOutcome, 0, codeUbyte, 0)
		return true
	}
	body, channel := bodyOf(frame), binary.BigEndian.Uint16(frame[6:])
	f, _, err := parse(body)
	if err != nil {
		return body == nil // it says that it lives
	}
	switch what := performativeOf(body); what {
	case performOpen:
		p.say(amqpFrame, what, 0, appendText([]byte(nil), codeString8, "peer")...)
	case performBegin:
		p.say(amqpFrame, what, channel, 0x60, frame[6], frame[7], codeUint0, codeSmallUint, 100, codeSmallUint, 100)
	case performAttach:
		if p.first && !p.mayAttach() {
			return false
		}
		name, number := p.field(&f), p.field(&f)
		receives := f.next().bool()
		if p.empty {
			list := append(appendBool(append(append([]byte(nil), name...), number...), !receives), bytes.Repeat([]byte{codeNull}, 5)...)
			p.say(amqpFrame, what, channel, append(list, codeNull, codeUint0)...)
			condition := appendText([]byte{0, codeSmallUlng, byte(typeError), codeList8, 16, 1}, codeSymbol8, "amqp:not-found")
			condition[4] = byte(len(condition) - 5)
			p.say(amqpFrame, performDetach, channel, append(append(append([]byte(nil), number...), codeTrue), condition...)...)
			return true
		}
		f.skip(2) // settle modes
		list := append(appendBool(append(append([]byte(nil), name...), number...), !receives), codeNull, codeNull)
		list = append(append(list, p.field(&f)...), p.field(&f)...)
		p.say(amqpFrame, what, channel, append(list, codeNull, codeNull, codeUint0)...)
		if p.deaf {
			p.say(amqpFrame, performFlow, channel, append(append([]byte{
				codeUint0, codeSmallUint, 100, codeUint0, codeSmallUint, 100,
			}, number...), codeUint0, codeSmallUint, 100)...)
			<-p.Context().Done()
			return false
		}
		if !p.first {
			p.first = true
			p.say(amqpFrame, performDetach, channel, append(append([]byte(nil), number...), codeTrue)...)
		}
	case performEnd:
		p.say(amqpFrame, what, channel)
	case performClose:
		p.say(amqpFrame, what, 0)
		return false
	}
	return true
}

// mayAttach tells the test that another link is to be attached, and returns when it lets
// that be, or false when the test is over.
func (p *attaching) mayAttach() bool {
	select {
	case p.again <- struct{}{}:
	case <-p.Context().Done():
		return false
	}
	select {
	case <-p.let:
		return true
	case <-p.Context().Done():
		return false
	}
}

// field returns the next field as it is written.
func (*attaching) field(f *fields) []byte {
	from := f.rest
	f.next()
	return from[:len(from)-len(f.rest)]
}

func (p *attaching) write(b []byte) { _, _ = p.Conn.Write(b) } // who reads it is about to see that

// say writes a frame.
func (p *attaching) say(kind byte, what descriptor, channel uint16, list ...byte) {
	frame := performative(what, fieldsOf(p, list), list...)
	frame[5] = kind
	binary.BigEndian.PutUint16(frame[6:], channel)
	p.write(frame)
}

// TestCloseWhileAttachingAgain: a listener is closed while a link is attached for one that
// the peer has detached. Closing it ends, and leaves no link.
func TestCloseWhileAttachingAgain(t *testing.T) {
	p, c := attachingPeer(t, true)
	l, err := c.Listen(t.Context(), messaging.Subscription{Sources: []messaging.Address{{Topic: "t"}}, Prefetch: 1})
	if err != nil {
		t.Fatal(err)
	}
	<-p.again
	closed := make(chan error, 1)
	go func() { closed <- l.Close(context.Background()) }()
	eventually(t, "the link to be freed", func() bool { return strings.Contains(stacks(), "(*source).free") })
	close(p.let)
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(long):
		t.Fatal("Close does not end")
	}
}

// TestAttachedForNobody: a link that is attached while nobody waits for it any more is one
// of the connection's, which is used by who sends there next.
func TestAttachedForNobody(t *testing.T) {
	p, c := attachingPeer(t, false)
	to := messaging.Address{Topic: "t"}
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	go func() { sent <- c.Send(ctx, to, &messaging.Message{}, nil) }()
	<-p.again
	cancel()
	if err := <-sent; !errors.Is(err, messaging.ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v and %v", err, messaging.ErrNotSent, context.Canceled)
	}
	for range 2 {
		c.lanes.closeIdle()
	}
	close(p.let)
	l := c.lanes.use(c.routes.to(c, to))
	eventually(t, "the link to be attached", func() bool { return l.current() != nil })
}

// TestManyLanes: any number of addresses may keep those waiting who send there.
func TestManyLanes(t *testing.T) {
	p, c := attachingPeer(t, false)
	close(p.let)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for n := range maxLinks + 10 {
		all.Go(func() {
			to := messaging.Address{Topic: strconv.Itoa(n)}
			if err := c.Send(ctx, to, &messaging.Message{}, nil); !errors.Is(err, context.Canceled) && c.Err() == nil {
				t.Error(err)
			}
		})
		select {
		case <-p.again:
		case <-c.Done():
			t.Fatalf("at link %d: %v", n, c.Err())
		}
	}
	eventually(t, "the last link to be attached", func() bool {
		c.lanes.mu.Lock()
		defer c.lanes.mu.Unlock()
		attached := 0
		for _, l := range c.lanes.all {
			if l.current() != nil {
				attached++
			}
		}
		return attached == maxLinks+10 || c.Err() != nil
	})
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// TestLargeMessageToNobody: a message of any size that a peer does not read keeps nobody
// beyond his context.
func TestLargeMessageToNobody(t *testing.T) {
	p, c := attachingPeer(t, false)
	p.deaf = true
	close(p.let)
	go func() { <-p.again }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		o := make(outcome, 1)
		to := messaging.Address{Topic: "t"}
		if err := c.Send(t.Context(), to, &messaging.Message{Body: make([]byte, 40<<20)}, o); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := c.Send(ctx, to, &messaging.Message{}, nil); !errors.Is(err, messaging.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second message: %v", err)
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-o; !errors.Is(err, messaging.ErrOutcomeUnknown) {
			t.Errorf("outcome %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(long):
		t.Fatal("it waits for the peer")
	}
}

// long bounds what is waited for, generously.
const long = 30 * time.Second

// eventually waits for a condition that nobody announces.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	for began := time.Now(); !is(); <-time.After(time.Millisecond) {
		if time.Since(began) > long {
			tb.Fatalf("waiting for %s", what)
		}
	}
}

// stacks returns what all goroutines do.
func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}
