package interop_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestDuplicates: a message that comes twice with one id, as after a lost
// connection, is handled once, by servers of either language.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	c := startCrew(t)
	url := c.clients["python"].(pyClient).url
	transport := open(t, url)
	var want []string
	for _, server := range []string{"py1", "go1"} {
		args := fmt.Sprintf(`{"same": "python to %s"}`, server)
		want = append(want, args)
		c.py.peer.must(t, command{Do: "cast_twice", URL: url, Topic: crewTopic, Server: server, Method: "record", Args: args})

		args = fmt.Sprintf(`{"same": "go to %s"}`, server)
		want = append(want, args)
		for range 2 {
			e := &messaging.Envelope{
				Kind: messaging.KindRPC, ID: "id-of-go-to-" + server, Method: "record", Version: "1.0", Body: []byte(args),
			}
			if err := transport.Send(t.Context(), messaging.Target{Topic: crewTopic, Server: server}.Address(), e, nil); err != nil {
				t.Fatal(err)
			}
		}
		// One more behind them: what had not come by then does not come.
		args = fmt.Sprintf(`{"fence": "%s"}`, server)
		want = append(want, args)
		if got := c.clients["go"].send(t, request{do: "cast", topic: crewTopic, server: server, method: "record", args: args}); got.kind != "ok" {
			t.Fatal(got)
		}
	}
	py, golang := c.await(t, "record", len(want))
	if got := append(py, golang...); !sameElements(got, want) {
		t.Errorf("handled were %q, want each of %q once", got, want)
	}
}

// TestCallerThatLeft: a server whose caller is gone before the reply goes on.
func TestCallerThatLeft(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	p := startPeer(t, "--conf", "oslo_messaging_rabbit.rabbit_transient_queues_ttl=1")
	py := p.serve(t, url, pyTopic, host, false)
	golang := startService(t, url, goTopic, host)
	for _, topic := range []string{pyTopic, goTopic} {
		asleep := func() {
			if topic == goTopic {
				<-golang.calls
			} else {
				p.await(t, "asleep", py.told("called", "sleep"))
			}
		}
		// A Go caller deletes its reply queue when it leaves.
		leaving, err := dial(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan outcome, 1)
		go func() {
			done <- goClient{leaving}.send(t, request{topic: topic, method: "sleep", args: `{"seconds": 1.5}`})
		}()
		asleep()
		if err := leaving.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := <-done; !strings.Contains(got.kind, "closed") {
			t.Errorf("the call of a transport that was closed: %+v", got)
		}
	}
	// A Python caller's queue expires after it.
	caller := pyClient{p, url + "?rabbit_transient_queues_ttl=1"}
	id := caller.start(t, caller.command(t, request{topic: goTopic, method: "sleep", args: `{"seconds": 3}`}))
	<-golang.calls
	caller.must(t, command{Do: "leave", URL: caller.url})
	_ = id // whatever becomes of the call

	survives(t, url)
}

// survives checks that the servers of a virtual host still answer.
func survives(t *testing.T, url string) {
	t.Helper()
	c := goClient{open(t, url)}
	for _, topic := range []string{pyTopic, goTopic} {
		got := c.send(t, request{topic: topic, method: "add", args: `{"a": 1, "b": 1}`})
		if d := diff(t, ok("2"), got); d != "" {
			t.Errorf("%s afterwards (-want +got):\n%s", topic, d)
		}
	}
}

// TestLateReplies: a reply that comes after its caller's timeout is dropped, and the
// next call of that client gets its own.
func TestLateReplies(t *testing.T) {
	t.Parallel()
	for _, p := range startPairs(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			got := p.send(t, request{topic: p.topic, method: "add", args: `{"a": 1, "b": 1}`}) // to connect takes its time
			if d := diff(t, ok("2"), got); d != "" {
				t.Fatalf("the first call (-want +got):\n%s", d)
			}
			got = p.send(t, request{topic: p.topic, method: "sleep", args: `{"seconds": 0.6}`, timeout: 200 * time.Millisecond})
			if d := cmp.Diff(timedOut, got.kind); d != "" {
				t.Errorf("the late one (-want +got):\n%s", d)
			}
			for i := 1; i < 4; i++ { // while and after it comes
				args := fmt.Sprintf(`{"seconds": 0.3%d}`, i)
				got := p.send(t, request{topic: p.topic, method: "sleep", args: args})
				if d := diff(t, ok(fmt.Sprintf("0.3%d", i)), got); d != "" {
					t.Errorf("call %d (-want +got):\n%s", i, d)
				}
			}
		})
	}
}

// TestUndecodable: what is no message of oslo.messaging harms neither server, and
// does not come back.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	sharedPeer(t).serve(t, url, pyTopic, host, false)
	startService(t, url, goTopic, host)
	transport := open(t, url)
	for _, topic := range []string{pyTopic, goTopic} {
		for _, body := range []string{``, `{`, `[]`, `null`, `{"oslo.version": "9.0", "oslo.message": "{}"}`, `{"oslo.version": "2.0", "oslo.message": "{"}`} {
			e := &messaging.Envelope{Kind: messaging.KindRPC, Method: body}
			o := &messaging.SendOptions{Codec: raw{}}
			if err := transport.Send(context.WithoutCancel(t.Context()), messaging.Target{Topic: topic}.Address(), e, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	survives(t, url)
}

// raw is a codec that sends the method as the body.
type raw struct{}

func (raw) Name() string { return "raw" }
func (raw) Encode(e *messaging.Envelope, m *messaging.Message) error {
	m.ContentType, m.ContentEncoding = "application/json", "utf-8"
	m.Body = append(m.Body[:0], e.Method...)
	return nil
}
func (raw) Accepts(*messaging.Message) bool                      { return false }
func (raw) Decode(*messaging.Message, *messaging.Envelope) error { return messaging.ErrUndecodable }
