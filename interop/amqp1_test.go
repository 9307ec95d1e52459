package interop_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
)

// amqp1Side is a broker and the addressing with which oslo.messaging's amqp1 driver
// can be on it at all.
type amqp1Side struct {
	name  string
	url   string   // ours
	conf  []string // Python's
	calls bool     // Python's calls arrive: it gives them an expiry time in 1970
}

func amqp1Sides(t *testing.T) []amqp1Side {
	t.Helper()
	return []amqp1Side{
		{
			name: "legacy on Broker-J", url: brokertest.BrokerJ(t).AMQP1URL() + "?wire=oslo", calls: true,
			conf: []string{"--conf", "oslo_messaging_amqp.addressing_mode=legacy"},
		},
		{name: "routable on Artemis", url: brokertest.Artemis(t).AMQP1URL() + "?wire=oslo"},
	}
}

// python returns the arguments of every Python peer.
func (s amqp1Side) python(args ...string) []string {
	url, _, _ := strings.Cut(strings.Replace(s.url, "amqp1:", "amqp:", 1), "?")
	return append(append([]string{"--url", url}, args...), s.conf...)
}

func TestAMQP1Calls(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		request
		want outcome
	}{
		{"arguments and result", request{method: "add", args: `{"a": 2, "b": 3}`}, ok("5")},
		{"unicode", request{method: "echo", args: `{"a": "h\u00e9llo \u4e16\u754c", "b": [1.5, null]}`}, ok(`{"a": "héllo 世界", "b": [1.5, null]}`)},
		{"no result", request{method: "nothing"}, ok("null")},
		{"named server", request{method: "whoami", server: host}, ok(`"` + host + `"`)},
		{"namespace and version", request{method: "where", namespace: "ns1", version: "2.3"}, ok(`"ns1"`)},
		{"newer version", request{method: "nothing", version: "1.6"}, unsupported("1.6", "nothing")},
		{"unknown method", request{method: "nope"}, noMethod("nope")},
		{"exception", request{method: "fail", args: `{"message": "boom"}`}, failed("ValueError", "boom")},
		{"context", request{method: "context", context: map[string]any{"user_id": "u1", "roles": []string{"é"}}}, ok(`{"user_id": "u1", "roles": ["é"]}`)},
		{"timeout", request{method: "sleep", args: `{"seconds": 4}`, timeout: time.Second}, outcome{kind: timedOut}}, // Python looks at its clock about once a second
		{"monitored", request{method: "sleep", args: `{"seconds": 3}`, monitor: 2 * time.Second}, ok("3")},
	}
	for _, s := range amqp1Sides(t) {
		t.Run(s.name, func(t *testing.T) {
			suffix := rand.Text()[:8]
			pyTopic, goTopic := "py"+suffix, "go"+suffix
			startPythonWith(t, pythonAMQP1, "py_server.py", s.python("--topic", pyTopic, "--server", host)...)
			startService(t, s.url, goTopic, host)
			pairs := []pair{{"go to python", pyTopic, goClient{open(t, s.url)}}, {"go to go", goTopic, goClient{open(t, s.url)}}}
			if s.calls {
				py := pyClient{startPythonWith(t, pythonAMQP1, "py_client.py", s.python()...), new(atomic.Int64)}
				pairs = append(pairs, pair{"python to go", goTopic, py}, pair{"python to python", pyTopic, py})
			}
			for _, p := range pairs {
				t.Run(p.name, func(t *testing.T) {
					for _, tt := range tests {
						t.Run(tt.name, func(t *testing.T) {
							t.Parallel()
							r := tt.request
							r.topic = p.topic
							if d := diff(t, tt.want, p.send(t, r)); d != "" {
								t.Errorf("outcome (-want +got):\n%s", d)
							}
						})
					}
				})
			}
		})
	}
}

func TestAMQP1CastsAndFanout(t *testing.T) {
	t.Parallel()
	for _, s := range amqp1Sides(t) {
		t.Run(s.name, func(t *testing.T) {
			topic := "crew" + rand.Text()[:8]
			c := &crew{
				golang: startService(t, s.url, topic, "go1"),
				py:     startPythonWith(t, pythonAMQP1, "py_server.py", s.python("--topic", topic, "--server", "py1")...),
			}
			clients := map[string]client{
				"go":     goClient{open(t, s.url)},
				"python": pyClient{startPythonWith(t, pythonAMQP1, "py_client.py", s.python()...), new(atomic.Int64)},
			}
			cast := func(do, server string, n int) (want []string) {
				for language, client := range clients {
					for i := range n {
						args := fmt.Sprintf(`{"n": %d, "from": %q, "do": %q, "to": %q}`, i, language, do, server)
						want = append(want, args)
						if got := client.send(t, request{do: do, topic: topic, server: server, method: "record", args: args}); got.kind != "ok" {
							t.Fatalf("%s from %s: %+v", do, language, got)
						}
					}
				}
				return want
			}
			want := cast("cast", "", 10)
			py, golang := c.await(t, "record", len(want))
			if got := append(py, golang...); !sameElements(got, want) || len(py) == 0 || len(golang) == 0 {
				t.Errorf("casts handled in Python %v, in Go %v, want both to share %v, each handled once", py, golang, want)
			}
			before := len(py)
			toGo, toPy := cast("cast", "go1", 2), cast("cast", "py1", 2)
			py, golang = c.await(t, "record", before+len(toGo)+len(toPy))
			if !sameElements(golang, toGo) || !sameElements(py[before:], toPy) {
				t.Errorf("casts by name reached Python with %v, want %v, and Go with %v, want %v", py[before:], toPy, golang, toGo)
			}
			if strings.HasPrefix(s.name, "legacy") {
				return // Python's fanout address is a queue there, with one copy for all
			}
			before = len(py)
			all := cast("fanout", "", 1)
			py, golang = c.await(t, "record", before+2*len(all))
			if !sameElements(golang, all) || !sameElements(py[before:], all) {
				t.Errorf("fanouts reached Python with %v and Go with %v, want %v in each", py[before:], golang, all)
			}
		})
	}
}

func TestAMQP1Notifications(t *testing.T) {
	t.Parallel()
	for _, s := range amqp1Sides(t) {
		t.Run(s.name, func(t *testing.T) {
			suffix := rand.Text()[:8]
			toGo, toPy := "togo"+suffix, "topy"+suffix
			transport := open(t, s.url)

			// From Python, in both formats.
			stream, err := transport.Listen(t.Context(), messaging.Subscription{
				Sources: []messaging.Address{{Kind: messaging.KindNotify, Topic: toGo + ".info"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stream.Close(context.WithoutCancel(t.Context())) }()
			notifier := startPythonWith(t, pythonAMQP1, "amqp1_notify.py", s.python("--topic", toGo)...)
			for i, format := range []string{"messagingv2", "messaging"} {
				fmt.Fprintf(notifier.stdin, `{"id": %d, "format": %q, "event": "volume.create", "payload": "{\"id\": \"é\"}", "context": "{\"user_id\": \"u1\"}"}`+"\n", i, format)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				in, err := stream.Poll(ctx)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				var n struct {
					Publisher string `json:"publisher_id"`
					Event     string `json:"event_type"`
					Payload   map[string]string
				}
				if err := json.Unmarshal(in.Body, &n); err != nil {
					t.Fatalf("%v in %s", err, in.Body)
				}
				if n.Publisher != "python" || n.Event != "volume.create" || n.Payload["id"] != "é" || in.Bare != (format == "messaging") || len(in.Context) != 1 {
					t.Errorf("notification %s with context %s, bare %v", in.Body, in.Context, in.Bare)
				}
				if err := in.Settle(t.Context(), messaging.Ack); err != nil {
					t.Error(err)
				}
			}

			// To Python, in both formats.
			listener := startPythonWith(t, pythonAMQP1, "amqp1_notify.py", s.python("--topic", toPy, "--listen")...)
			for i, bare := range []bool{false, true} {
				event := fmt.Sprint("event", i)
				err := transport.Send(t.Context(), messaging.Address{Kind: messaging.KindNotify, Topic: toPy + ".info"}, &messaging.Envelope{
					Kind: messaging.KindNotify, Bare: bare, Context: []messaging.ContextValue{{Key: "user_id", Value: []byte(`"u1"`)}},
					Body: []byte(`{"message_id": "1", "publisher_id": "go", "event_type": "` + event + `", "priority": "INFO", "payload": {"a": 1}, "timestamp": "2026-11-24 00:00:00.000001"}`),
				}, nil)
				if err != nil {
					t.Fatal(err)
				}
				got := listener.await(t, "told of "+event, called(event))
				if got.Server != "go" || got.Args != `{"a": 1}` || got.Context != `{"user_id": "u1"}` {
					t.Errorf("Python heard %+v", got)
				}
			}
		})
	}
}
