package interop_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging/notify"
)

// amqp1Side is a broker and the addressing with which oslo.messaging's amqp1 driver
// can be on it at all.
type amqp1Side struct {
	name  string
	url   string // ours
	peer  *peer
	calls bool // Python's calls arrive: it gives them an expiry time in 1970
}

// The peers of each side, of the last release that speaks AMQP 1.0.
var legacyPeer, routablePeer sharing

func amqp1Sides(t *testing.T) []amqp1Side {
	t.Helper()
	return []amqp1Side{
		{
			name: "legacy on Broker-J", url: brokertest.BrokerJ(t).AMQP1URL() + "?wire=oslo", calls: true,
			peer: legacyPeer.get(t, pythonAMQP1, "--conf", "oslo_messaging_amqp.addressing_mode=legacy"),
		},
		{
			name: "routable on Artemis", url: brokertest.Artemis(t).AMQP1URL() + "?wire=oslo",
			peer: routablePeer.get(t, pythonAMQP1),
		},
	}
}

// pythonURL is the same for Python.
func (s amqp1Side) pythonURL() string {
	url, _, _ := strings.Cut(strings.Replace(s.url, "amqp1:", "amqp:", 1), "?")
	return url
}

func TestAMQP1Calls(t *testing.T) {
	t.Parallel()
	long, slept := outlasting()
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
		{"monitored", long, slept},
	}
	for _, s := range amqp1Sides(t) {
		t.Run(s.name, func(t *testing.T) {
			suffix := rand.Text()[:8]
			pyTopic, goTopic := "py"+suffix, "go"+suffix
			s.peer.serve(t, s.pythonURL(), pyTopic, host, false)
			startService(t, s.url, goTopic, host)
			pairs := []pair{{"go to python", pyTopic, goClient{open(t, s.url)}}, {"go to go", goTopic, goClient{open(t, s.url)}}}
			if s.calls {
				py := pyClient{s.peer, s.pythonURL()}
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
				py:     s.peer.serve(t, s.pythonURL(), topic, "py1", false),
			}
			clients := map[string]client{"go": goClient{open(t, s.url)}, "python": pyClient{s.peer, s.pythonURL()}}
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
	const payload = `{"id": "v-1", "size": 9007199254740993, "text": "h\u00e9llo"}`
	for _, s := range amqp1Sides(t) {
		out := map[string]publisher{"python": pyPublisher{s.peer, s.pythonURL()}, "go": goPublisher{open(t, s.url)}}
		for _, to := range []string{"python", "go"} {
			t.Run(s.name+" to "+to, func(t *testing.T) {
				l := listening{topics: []string{"to" + to + rand.Text()[:8]}, priorities: []notify.Priority{notify.Info}}
				var a audience
				if to == "go" {
					a = listenInGo(t, s.url, l)
				} else {
					a = s.peer.hear(t, s.pythonURL(), l)
				}
				n := 0
				for from, o := range out {
					for _, v1 := range []bool{false, true} {
						o.publish(t, publishing{
							priority: "info", publisher: from, event: "volume.create", payload: payload, topics: l.topics, v1: v1,
							context: map[string]any{"user_id": "u1"},
						})
						n++
						got := a.await(t, n)[n-1]
						if got.publisher != from || got.eventType != "volume.create" || got.context != `{"user_id":"u1"}` && got.context != `{"user_id": "u1"}` {
							t.Errorf("from %s, v1 %v: %+v", from, v1, got)
						}
						if d := cmp.Diff(decode(t, payload), decode(t, got.payload)); d != "" {
							t.Errorf("from %s, v1 %v: payload (-want +got):\n%s", from, v1, d)
						}
					}
				}
			})
		}
	}
}
