package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

const (
	stormCallers  = 64
	stormRounds   = 20
	stormDeadline = 3 * time.Second
)

// storm is callers and a server, each behind a proxy that breaks links.
type storm struct {
	options  string
	client   *rpc.Client
	proxies  []*faultproxy.Proxy
	executed sync.Map // of the tokens of requests
	calls    atomic.Int64
	answered atomic.Int64
	failed   sync.Map // kind of failure to *atomic.Int64
}

// TestStorm cuts connections at random moments under callers that do not stop:
// each call has one outcome, which is true, in time and the caller's own, and
// in the end nothing is left.
func TestStorm(t *testing.T) {
	for name, options := range map[string]string{
		"a connection each": "", "shared connection": "share_connection=true", "direct replies": directOption,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			descriptors := countDescriptors(t)
			s := &storm{options: options}
			s.run(t, b)
			kinds := map[string]int64{}
			s.failed.Range(func(kind, n any) bool { kinds[kind.(string)] = n.(*atomic.Int64).Load(); return true })
			t.Logf("%d calls, %d answered, failed: %v", s.calls.Load(), s.answered.Load(), kinds)
			if s.answered.Load() < s.calls.Load()/2 {
				t.Errorf("only %d of %d calls were answered", s.answered.Load(), s.calls.Load())
			}
			noGoroutines(t)
			eventually(t, "the descriptors are closed", func() bool { return countDescriptors(t) <= descriptors })
		})
	}
}

func (s *storm) run(t *testing.T, b *broker) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	serverSide, clientSide := s.open(t, b), s.open(t, b)
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "echo", func(_ context.Context, a struct{ Token string }) (string, error) {
		s.executed.Store(a.Token, true)
		return a.Token, nil
	})
	server, err := rpc.NewServer(serverSide, messaging.Target{Topic: "storm", Server: "h"}, []*rpc.Endpoint{ep},
		&rpc.ServerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	s.client = rpc.NewClient(clientSide, messaging.Target{Topic: "storm"}, nil)
	s.call(ctx, t, "first")

	over := make(chan struct{})
	var callers sync.WaitGroup
	for i := range stormCallers {
		callers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
					s.call(ctx, t, fmt.Sprintf("%d-%d", i, n))
				}
			}
		})
	}
	for round := range stormRounds {
		until := s.answered.Load() + 1 + rand.Int64N(4*stormCallers)
		eventually(t, "calls are answered again", func() bool { return s.answered.Load() >= until })
		side := rand.IntN(2)
		p, transport := s.proxies[side], []*messaging.Transport{serverSide, clientSide}[side]
		tries := 0
		eventually(t, "all connections are there to be lost", func() bool { // one that still opens is not lost
			tries++
			return s.call(ctx, t, fmt.Sprintf("round %d-%d", round, tries))
		})
		lost := transport.Stats().ConnsLost
		switch rand.IntN(3) {
		case 0:
			p.Cut()
		case 1:
			p.Reset()
		case 2: // in the middle of a frame
			p.CutAfter(rand.Int64N(20_000))
		}
		eventually(t, "a connection is lost", func() bool { return transport.Stats().ConnsLost > lost })
		p.Heal()
	}
	close(over)
	callers.Wait()

	s.call(ctx, t, "last")
	if err := server.Wait(ctx); err != nil {
		t.Errorf("Wait = %v", err)
	}
	for _, transport := range []*messaging.Transport{serverSide, clientSide} {
		if err := transport.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
		if now := transport.Stats(); now.Conns+now.InFlight+now.Calls+now.Streams != 0 {
			t.Errorf("left after Close: %+v", now)
		}
	}
	for _, p := range s.proxies {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// open returns a transport behind a proxy of its own.
func (s *storm) open(t *testing.T, b *broker) *messaging.Transport {
	t.Helper()
	before, rest, _ := strings.Cut(b.url, "@")
	host, path, _ := strings.Cut(rest, "/")
	p, err := faultproxy.Listen(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	s.proxies = append(s.proxies, p)
	transport, err := messaging.Registry{"rabbit": rabbit.Open}.Open(t.Context(), before+"@"+p.Addr()+"/"+path+"?"+s.options, &messaging.Options{
		Logger: slog.New(slog.DiscardHandler), BackoffMin: time.Millisecond, BackoffMax: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

// call makes one call, judges its outcome, and reports whether it was answered.
func (s *storm) call(ctx context.Context, t *testing.T, token string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stormDeadline)
	defer cancel()
	begin := time.Now()
	var got string
	err := s.client.Call(ctx, "echo", rpc.Args{"Token": token}, &got)
	if took := time.Since(begin); took > 3*stormDeadline { // the machine may stand still for a moment
		t.Errorf("call %s took %v", token, took)
	}
	s.calls.Add(1)
	if err == nil {
		s.answered.Add(1)
		if got != token {
			t.Errorf("call %s got the reply to %q", token, got)
		}
		return true
	}
	_, executed := s.executed.Load(token)
	kind := kindOf(err)
	switch {
	case kind == "":
		t.Errorf("call %s failed without a kind: %v", token, err)
	case kind == "not sent" && executed:
		t.Errorf("call %s was not sent, and executed: %v", token, err)
	}
	n, _ := s.failed.LoadOrStore(kind, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	return false
}

// kindOf names which of the failures of a call err is.
func kindOf(err error) string {
	for _, k := range []struct {
		name string
		is   error
	}{
		{"not sent", messaging.ErrNotSent},
		{"no route", messaging.ErrNoRoute},
		{"rejected", messaging.ErrRejected},
		{"outcome unknown", messaging.ErrOutcomeUnknown},
		{"reply lost", messaging.ErrReplyLost},
		{"timeout", messaging.ErrTimeout},
	} {
		if errors.Is(err, k.is) {
			return k.name
		}
	}
	return ""
}

// countDescriptors returns the number of the process's open files, where the
// system tells.
func countDescriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(open)
}
