package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	. "github.com/patchbay-go/patchbay/messaging"
)

// told is a Trace that counts what it is told.
type told struct {
	mu    sync.Mutex
	lines map[string]int
	took  time.Duration // of the last send
}

func (l *told) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = make(map[string]int)
	}
	l.lines[fmt.Sprintf(format, args...)]++
}

// take returns what was told since the last take.
func (l *told) take() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for line, n := range l.lines {
		all = append(all, fmt.Sprintf("%d %s", n, line))
	}
	l.lines = nil
	slices.Sort(all)
	return all
}

func outcomeName(err error) string {
	for _, o := range []error{ErrNotSent, ErrNoRoute, ErrRejected, ErrOutcomeUnknown, ErrConnLost, ErrConnect} {
		if errors.Is(err, o) {
			return o.Error()
		}
	}
	return fmt.Sprint(err)
}

func (l *told) trace() *Trace {
	return &Trace{
		Dialed:   func(host string, _ int, _ time.Duration, err error) { l.add("dialed %s: %s", host, outcomeName(err)) },
		ConnLost: func(_ string, err error) { l.add("lost: %s", outcomeName(err)) },
		Sent: func(to Address, took time.Duration, err error) {
			l.add("sent to %v: %s", to, outcomeName(err))
			l.took = took
		},
		Retried: func(to Address, attempt int, err error) {
			l.add("retry %d to %v: %s", attempt, to, outcomeName(err))
		},
		Listening: func(sub Subscription, generation int) {
			l.add("listening on %v, generation %d", sub.Sources, generation)
		},
		Received:    func(in *Incoming) { l.add("received %s", in.ID) },
		Duplicate:   func(id string, _ bool) { l.add("duplicate %s", id) },
		Undecodable: func(_ *Delivery, err error) { l.add("undecodable: %v", errors.Is(err, ErrUndecodable)) },
		Settled:     func(in *Incoming, o Outcome, err error) { l.add("settled %s: %v, %v", in.ID, o, err) },
	}
}

// TestTrace goes through the life of a transport and holds what is told of it.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := fake.New(nil)
		var log told
		tr, err := Registry{"fake": broker.Open}.Open(t.Context(), "fake://h:1/", &Options{
			Trace: log.trace(), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close(t.Context())
		want := func(what string, lines ...string) {
			t.Helper()
			if diff := cmp.Diff(lines, log.take()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}

		st, err := tr.Listen(t.Context(), Subscription{Sources: []Address{topic}})
		if err != nil {
			t.Fatal(err)
		}
		want("Listen", "1 dialed h:1: <nil>", `1 listening on [topic "volume"], generation 1`)

		for range 2 { // the second is a duplicate
			if err := tr.Send(t.Context(), topic, &Envelope{ID: "m1", Method: "m"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		in, err := st.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Settle(t.Context(), Ack); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = st.Poll(t.Context()) }()
		want("two sends of one message", "1 dialed h:1: <nil>", "1 duplicate m1", "1 received m1",
			"1 settled m1: ack, <nil>", `2 sent to topic "volume": <nil>`)

		garbage(t, broker)
		want("garbage", "1 undecodable: true")

		broker.RefuseNew(true)
		broker.CutAll()
		if lines := log.take(); !slices.Contains(lines, "2 lost: connection lost") {
			t.Errorf("after a cut: %q, want two connections lost", lines)
		}
		elapse(time.Minute)
		log.take()
		err = tr.Send(within(t, time.Minute), topic, &Envelope{ID: "m2"}, &SendOptions{Retry: 2})
		if !errors.Is(err, ErrNotSent) {
			t.Fatal(err)
		}
		lines := slices.DeleteFunc(log.take(), func(line string) bool { return strings.Contains(line, "dialed") })
		if diff := cmp.Diff([]string{
			`1 retry 1 to topic "volume": not sent`,
			`1 retry 2 to topic "volume": not sent`,
			`1 sent to topic "volume": not sent`,
		}, lines); diff != "" {
			t.Errorf("a send without a connection (-want +got):\n%s", diff)
		}
		if log.took == 0 {
			t.Error("the send that failed after retries took no time")
		}
		broker.RefuseNew(false)
		elapse(time.Minute)
		if lines := log.take(); !slices.Contains(lines, `1 listening on [topic "volume"], generation 2`) {
			t.Errorf("after a cut that healed: %q, want a stream that listens again", lines)
		}
	})
}

// garbage sends what no codec understands.
func garbage(t *testing.T, broker *fake.Broker) {
	t.Helper()
	conn, err := broker.Driver((*Options)(nil).WithDefaults()).Dial(t.Context(), Endpoint{
		Credentials: func(context.Context) (Credentials, error) { return Credentials{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.Send(t.Context(), topic, &Message{ContentType: "text/plain"}, taken{}); err != nil {
		t.Fatal(err)
	}
}

// taken is a Completion that nobody waits for.
type taken struct{}

func (taken) Complete(error) {}
