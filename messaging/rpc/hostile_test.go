package rpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// stranger publishes raw messages to a bus.
type stranger struct {
	b    *bus
	conn messaging.Conn
}

func newStranger(b *bus) *stranger {
	b.t.Helper()
	conn, err := b.broker.Driver(nil).Dial(b.ctx(), messaging.Endpoint{
		Credentials: func(context.Context) (messaging.Credentials, error) { return messaging.Credentials{}, nil },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close(b.ctx()) })
	return &stranger{b, conn}
}

func (s *stranger) publish(m messaging.Message) {
	s.b.t.Helper()
	if err := s.conn.Send(s.b.ctx(), messaging.Address{Kind: messaging.KindRPC, Topic: "volume", Server: "h"}, &m, nil); err != nil {
		s.b.t.Fatal(err)
	}
}

// request publishes an envelope that a well-behaved peer would not send.
func (s *stranger) request(e messaging.Envelope) {
	s.b.t.Helper()
	e.Kind = messaging.KindRPC
	var m messaging.Message
	if err := s.b.codec.Encode(&e, &m); err != nil {
		s.b.t.Fatal(err)
	}
	s.publish(m)
}

// hostileEndpoint has methods that misbehave.
func hostileEndpoint() *rpc.Endpoint {
	ep := demo()
	rpc.Handle(ep, "panic", func(context.Context, rpc.None) (rpc.None, error) { panic(strings.Repeat("x", 16<<10)) })
	rpc.Handle(ep, "exit", func(context.Context, rpc.None) (rpc.None, error) { runtime.Goexit(); return rpc.None{}, nil })
	rpc.Handle(ep, "fail", func(context.Context, rpc.None) (rpc.None, error) {
		return rpc.None{}, errors.New(strings.Repeat("x", 16<<10))
	})
	rpc.Handle(ep, "nil error", func(context.Context, rpc.None) (rpc.None, error) {
		var err *wrapped // nil, and yet an error that is not nil
		return rpc.None{}, err
	})
	rpc.Handle(ep, "channel", func(context.Context, rpc.None) (any, error) { return make(chan int), nil })
	rpc.Handle(ep, "huge panic", func(context.Context, rpc.None) (string, error) { panic(strings.Repeat("x", 17<<20)) })
	rpc.Handle(ep, "huge", func(context.Context, rpc.None) (string, error) { return strings.Repeat("x", 17<<20), nil })
	return ep
}

// wrapped is an error as programs have them, which must not be nil.
type wrapped struct{ cause error }

func (w *wrapped) Error() string { return "wrapped: " + w.cause.Error() }
func (w *wrapped) Unwrap() error { return w.cause }

// wantGood makes a call that must be answered at once.
func wantGood(t *testing.T, c *rpc.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
	defer cancel()
	if sum, err := rpc.CallFor[int](ctx, c, "add", addArgs{2, 3}); err != nil || sum != 5 {
		t.Errorf("a good call = %v, %v", sum, err)
	}
}

// wantEmpty fails the test if a queue of requests holds something.
func wantEmpty(t *testing.T, b *bus) {
	t.Helper()
	synctest.Wait() // acknowledgements follow replies
	for _, q := range b.broker.Queues() {
		if q.Waiting+q.Unsettled > 0 {
			t.Errorf("%s holds %d messages and %d in hand", q.Name, q.Waiting, q.Unsettled)
		}
	}
}

// TestHostileFlood: what a stranger can cause at will is logged a few times,
// in short lines, counted each time, and gone.
func TestHostileFlood(t *testing.T) {
	const n = 100
	absurd := strings.Repeat("m", 16<<10)
	tests := []struct {
		name  string
		e     messaging.Envelope
		count func(rpc.ServerStats) uint64
	}{
		{"unknown method", messaging.Envelope{Method: absurd}, failed},
		{"private method", messaging.Envelope{Method: "__class__"}, failed},
		{"unknown version", messaging.Envelope{Method: "add", Version: absurd}, failed},
		{"unknown arguments", messaging.Envelope{Method: "add", Body: []byte(`{"` + absurd + `": 1}`)}, failed},
		{"panic", messaging.Envelope{Method: "panic"}, func(s rpc.ServerStats) uint64 { return s.Panics }},
		{"nil error", messaging.Envelope{Method: "nil error"}, func(s rpc.ServerStats) uint64 { return s.Panics }},
		{"Goexit", messaging.Envelope{Method: "exit"}, failed},
		{"failure", messaging.Envelope{Method: "fail"}, failed},
		{"unencodable result", messaging.Envelope{Method: "channel"}, failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bus) {
				s := b.serve("h", nil, hostileEndpoint())
				c := b.client(nil)
				wantGood(t, c)
				attacker := newStranger(b)
				for range n {
					attacker.request(tt.e)
				}
				synctest.Wait()
				if got := tt.count(s.Stats()); got != n {
					t.Errorf("%d were counted, want %d", got, n)
				}
				wantGood(t, c)
				wantEmpty(t, b)
				wantQuiet(t, b.log.String())
			})
		})
	}
}

func failed(s rpc.ServerStats) uint64 { return s.Failed }

// wantQuiet fails the test if a flood was logged in more than a few short lines.
func wantQuiet(t *testing.T, log string) {
	t.Helper()
	n := strings.Count(log, "level=WARN") + strings.Count(log, "level=ERROR")
	if n > 20 {
		t.Errorf("%d lines were logged", n)
	}
	for line := range strings.Lines(log) {
		if len(line) > 8<<10 {
			t.Errorf("a line of %d bytes was logged: %.200s", len(line), line)
		}
	}
}

// TestHostileReplyAddresses: replies that nobody takes hold up nobody.
func TestHostileReplyAddresses(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		s := b.serve("h", &rpc.ServerOptions{Executor: rpc.Workers(8)}, hostileEndpoint())
		c := b.client(nil)
		wantGood(t, c)
		attacker := newStranger(b)
		for i := range 1000 {
			attacker.request(messaging.Envelope{Method: "nothing", CallID: fmt.Sprint(i), ReplyTo: "nowhere"})
		}
		synctest.Wait()
		<-time.After(15 * time.Second) // virtual: longer than the window for one address
		synctest.Wait()
		wantGood(t, c)
		if got := s.Stats().RepliesLost; got != 1000 {
			t.Errorf("%d replies were lost, want 1000", got)
		}
		wantEmpty(t, b)
		wantQuiet(t, b.log.String())
	})
}

// TestHostileFloodOfWhatIsGivenBack: what a handler gives back until it is dropped
// fills no log, either.
func TestHostileFloodOfWhatIsGivenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep := &rpc.Endpoint{}
		rpc.Handle(ep, "m", func(_ context.Context, a map[string]string) (rpc.None, error) {
			return rpc.None{}, rpc.Requeue(errors.New("cannot read " + a["text"]))
		})
		s := b.serve("h", &rpc.ServerOptions{Ack: rpc.AckLate, MaxAttempts: 2}, ep)
		attacker := newStranger(b)
		for range 100 { // each is tried twice
			attacker.request(messaging.Envelope{Method: "m", Body: []byte(`{"text": "` + strings.Repeat("x", 16<<10) + `"}`)})
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if got := s.Stats().Abandoned; got != 100 {
			t.Errorf("%d were abandoned", got)
		}
		var last []string
		for line := range strings.Lines(b.log.String()) {
			if strings.Contains(line, "after its last attempt") {
				last = append(last, line)
			}
		}
		if len(last) == 0 {
			t.Error("nothing was said")
		}
		wantQuiet(t, strings.Join(last, ""))
	})
}

// TestResultTooLarge: the caller hears at once that the result cannot reach it.
func TestResultTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("h", nil, hostileEndpoint())
		c := b.client(nil)
		begin := time.Now()
		err := c.Call(b.ctx(), "huge", nil, nil)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the call took %v", took)
		}
		if r := remote(t, err); !strings.Contains(r.Message, "too large") {
			t.Errorf("the failure does not say why: %v", r)
		}
		wantGood(t, c)
	})
}

// TestFailureTooLarge: so it is with a failure.
func TestFailureTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("h", nil, hostileEndpoint())
		c := b.client(nil)
		if r := remote(t, c.Call(b.ctx(), "huge panic", nil, nil)); r.Class != "Panic" {
			t.Errorf("got %.100v", r)
		}
		wantGood(t, c)
	})
}

// peak returns a function that returns by how much the heap grew at most.
func peak() func() uint64 {
	read := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	percent := debug.SetGCPercent(20) // garbage is not what is measured
	runtime.GC()
	start, most := read(), uint64(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, read())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	return func() uint64 {
		close(stop)
		wg.Wait()
		debug.SetGCPercent(percent)
		return max(most, start) - start
	}
}

// TestDecompressionBombs: memory is bounded by the limit, not by what a
// message would become.
func TestDecompressionBombs(t *testing.T) {
	// The bound is above a few times the limit. What 20 bombs become is 640 MB,
	// and were each kept up to the limit, 80 MB.
	const limit, become, bound = 4 << 20, 32 << 20, 64 << 20
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for chunk := make([]byte, 1<<20); bomb.Len() < become>>10; {
		if _, err := z.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b := &bus{t: t, broker: fake.New(nil), log: &logBuffer{}}
	registry := messaging.Registry{"fake": b.broker.Open}
	transport, err := registry.Open(b.ctx(), "fake://", &messaging.Options{
		MaxMessage: limit, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := b.serverOn(transport, "h", nil, demo())
	if err := s.Start(b.ctx()); err != nil {
		t.Fatal(err)
	}
	c := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, nil)
	wantGood(t, c)
	attacker := newStranger(b)
	grown := peak()
	for range 10 {
		for _, contentType := range []string{"application/json", "application/vnd.patchbay.v1+json"} {
			attacker.publish(messaging.Message{
				ContentType: contentType, Headers: []messaging.Header{{Key: "compression", Value: "application/x-gzip"}}, Body: bomb.Bytes(),
			})
		}
	}
	ctx, cancel := context.WithTimeout(b.ctx(), time.Minute)
	defer cancel()
	// The server's queue is first in, first out.
	if _, err := rpc.CallFor[int](ctx, c.Prepare(rpc.WithServer("h")), "add", addArgs{2, 3}); err != nil {
		t.Error(err)
	}
	if n := grown(); n > bound {
		t.Errorf("the heap grew by %d MB, %d are allowed", n>>20, bound>>20)
	}
	if got := transport.Stats().Undecodable; got != 20 {
		t.Errorf("%d messages were undecodable, want 20", got)
	}
	wantQuiet(t, b.log.String())
	if err := s.Wait(ctx); err != nil {
		t.Error(err)
	}
	if err := transport.Close(ctx); err != nil {
		t.Error(err)
	}
	for _, q := range b.broker.Queues() {
		if q.Waiting+q.Unsettled > 0 {
			t.Errorf("%s holds %d messages and %d in hand", q.Name, q.Waiting, q.Unsettled)
		}
	}
}
