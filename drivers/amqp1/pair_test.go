package amqp1

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/inbox"
	"github.com/patchbay-go/patchbay/messaging"
)

// socket is one whose peer the test is.
type socket struct {
	net.Conn
	mu   sync.Mutex
	came sync.Cond
	out  []byte // what was written
}

func (w *socket) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = append(w.out, p...)
	w.came.Broadcast()
	return len(p), nil
}

func (*socket) Close() error                     { return nil }
func (*socket) SetWriteDeadline(time.Time) error { return nil }

// next returns the next frame that was written.
func (w *socket) next(tb testing.TB) (descriptor, fields, []byte) {
	tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.out) < frameHead {
		w.came.Wait()
	}
	size, err := sizeOf(w.out)
	if err != nil || len(w.out) < size {
		tb.Fatalf("%d bytes of a frame of %d: %v", len(w.out), size, err)
	}
	body := bodyOf(w.out[:size])
	w.out = w.out[size:]
	f, payload, err := parse(body)
	if err != nil {
		tb.Fatal(err)
	}
	return performativeOf(body), f, payload
}

// nothing fails the test if something was written.
func (w *socket) nothing(tb testing.TB) {
	tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.out) > 0 {
		tb.Errorf("%d bytes were written", len(w.out))
	}
}

// pair is a session with a link, of which the test is the library and the peer.
type pair struct {
	testing.TB
	*socket
	c *conn
	s *session
}

const (
	channel = 1 // ours and the peer's
	handle  = 0 // likewise
)

func newPair(tb testing.TB, window uint32) *pair {
	tb.Helper()
	w := new(socket)
	w.came.L = &w.mu
	under := coalesce.New(w, coalesce.Options{})
	tb.Cleanup(under.Abort)
	c := &conn{o: &options{valueType: valueType}, p: rabbitMQ(), frames: newFrames(under, 0, 1000, valueType), raw: under}
	c.Begin(tb.Context(), "the pair", c.frames, c.told)
	c.Gate.MaxCount, c.Gate.MaxBytes = 100, windowBytes
	p := &pair{tb, w, c, nil}
	p.library(performBegin, codeNull, codeUint0, codeSmallUint, 200)
	p.peer(performOpen, codeNull, codeNull, codeUint, 0, 0, 2, 0)
	p.peer(performBegin, 0x60, 0, channel, codeUint0, codeSmallUint, byte(window))
	p.s = c.frames.remote[channel]
	return p
}

// performative returns a frame with a list of fields.
func performative(what descriptor, count int, list ...byte) []byte {
	b, frame := beginFrame(nil, channel)
	b, at := beginCompound(b, what, codeList32)
	return endFrame(endCompound(append(b, list...), at, count), frame)
}

// fieldsOf counts the values of a list.
func fieldsOf(tb testing.TB, list []byte) (count int) {
	tb.Helper()
	r := reader{rest: list}
	for len(r.rest) > 0 {
		r.next()
		count++
	}
	if r.err != nil {
		tb.Fatal(r.err)
	}
	return count
}

// library writes a frame as the library does.
func (p *pair) library(what descriptor, list ...byte) {
	p.Helper()
	if _, err := p.c.frames.Write(performative(what, fieldsOf(p, list), list...)); err != nil {
		p.Fatal(err)
	}
	if got, _, _ := p.next(p); got != what {
		p.Fatalf("%#x was written instead of %#x", got, what)
	}
}

// peer makes a frame of the peer's come, and reports whether it is ours.
func (p *pair) peer(what descriptor, list ...byte) bool {
	p.Helper()
	ours, err := p.c.frames.take(performative(what, fieldsOf(p, list), list...))
	if err != nil {
		p.Fatal(err)
	}
	return ours
}

// attach attaches a link of that name, whose peer takes messages of maxSize bytes.
func (p *pair) attach(e endpoint, maxSize byte) {
	p.Helper()
	p.c.frames.announce("link", e)
	p.library(performAttach, appendText([]byte(nil), codeString8, "link")...)
	p.answer(maxSize)
}

func (p *pair) answer(maxSize byte) {
	p.Helper()
	list := append(appendText([]byte(nil), codeString8, "link"), codeUint0, codeTrue)
	list = append(list, bytes.Repeat([]byte{codeNull}, 6)...)
	p.peer(performAttach, append(list, codeSmallUint, 5, codeSmallUlng, maxSize)...)
}

// allow says that the peer takes so many messages beyond those that it had.
func (p *pair) allow(nextIncoming, window, count, credit byte, drain bool) {
	p.Helper()
	list := []byte{codeSmallUint, nextIncoming, codeSmallUint, window, codeUint0, codeSmallUint, 8, codeUint0, codeSmallUint, count, codeSmallUint, credit, codeNull}
	if !p.peer(performFlow, appendBool(list, drain)...) {
		p.Error("a flow of ours is the library's")
	}
}

// sending returns a link for sending.
func (p *pair) sending() (*lane, *sender) {
	l := newLane(p.c, terminus{})
	link := &sender{c: p.c, lane: l}
	l.link = link
	return l, link
}

// outcome is a completion.
type outcome chan error

func (o outcome) Complete(err error) { o <- err }

// told returns the outcome, which must have been told.
func (o outcome) told(tb testing.TB) error {
	tb.Helper()
	select {
	case err := <-o:
		return err
	default:
		tb.Fatal("no outcome was told")
		return nil
	}
}

func (o outcome) open(tb testing.TB) {
	tb.Helper()
	if len(o) > 0 {
		tb.Fatalf("the outcome %v was told", <-o)
	}
}

// send sends over a lane, and returns the outcome if it is told later.
func (p *pair) send(ctx context.Context, l *lane, body string, settled bool) (outcome, error) {
	p.Helper()
	o := make(outcome, 1)
	later, err := l.send(ctx, &messaging.Message{Body: []byte(body)}, &terminus{}, outgoing{c: o}, settled)
	if !later {
		o = nil
	}
	return o, err
}

func (p *pair) mustSend(l *lane, body string, settled bool) outcome {
	p.Helper()
	o, err := p.send(p.Context(), l, body, settled)
	if err != nil {
		p.Fatal(err)
	}
	return o
}

// wantTransfer reads a transfer that was written.
func (p *pair) wantTransfer(id uint32, more bool) []byte {
	p.Helper()
	what, f, payload := p.next(p)
	got, err := parseTransfer(f)
	if err != nil || what != performTransfer || got.first && got.id != id || got.more != more {
		p.Fatalf("%#x %+v was written, %v; want the transfer %d", what, got, err, id)
	}
	return payload
}

// cancelled returns a context that has ended.
func cancelled(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	return ctx
}

// receiving returns a link for receiving, with a prefetch of 2.
func (p *pair) receiving() *receiver {
	p.Helper()
	l := &listener{c: p.c, prefetch: 2, inbox: inbox.New[polled](), ended: make(chan struct{})}
	r := newReceiver(&source{l: l, plan: plan{index: func(string) int { return 0 }}})
	p.attach(r, 0)
	r.credit.start()
	p.wantFlow(5, 2, false)
	return r
}

func (p *pair) wantFlow(count, credit uint32, drain bool) {
	p.Helper()
	what, f, _ := p.next(p)
	if w, err := parseFlow(f); err != nil || what != performFlow || !w.link || w.deliveryCount != count || w.credit != credit || w.drain != drain {
		p.Errorf("%#x %+v, %v; want a count of %d and a credit of %d", what, w, err, count, credit)
	}
}

// transfer makes a transfer come.
func (p *pair) transfer(tr transfer, payload []byte) error {
	p.Helper()
	b, frame := appendTransfer(nil, channel, tr)
	ours, err := p.c.frames.take(endFrame(append(b, payload...), frame))
	if !ours {
		p.Error("a transfer of ours is the library's")
	}
	return err
}

func (p *pair) deliver(id uint32, body string) {
	p.Helper()
	if err := p.transfer(transfer{id: id, first: true}, message(body)); err != nil {
		p.Fatal(err)
	}
}

func message(body string) []byte {
	return appendMessage(nil, &messaging.Message{ContentType: "c", Body: []byte(body)}, messaging.Address{}, &terminus{}, valueType)
}

func (p *pair) polled(r *receiver, want string) polled {
	p.Helper()
	got, ok := r.s.l.inbox.Take()
	if !ok || string(got.d.Body) != want {
		p.Fatalf("%v %+v, want %q", ok, got.d, want)
	}
	return got
}
