package interop_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging/notify"
)

// topologies are the ways in which operators have oslo.messaging declare queues.
var topologies = []struct{ name, query string }{
	{"default", ""},
	{"durable", "amqp_durable_queues=true"},
	{"quorum", "rabbit_quorum_queue=true"},
	{"transient quorum", "rabbit_quorum_queue=true&rabbit_transient_quorum_queue=true"},
	{"stream fanout", "rabbit_quorum_queue=true&rabbit_transient_quorum_queue=true&rabbit_stream_fanout=true&rabbit_qos_prefetch_count=5"},
	{"queue manager", "use_queue_manager=true&hostname=host1&processname=LANGUAGE"},
}

// TestTopologies: every pattern, both ways, on every broker in every topology. The
// other tests have every feature, on RabbitMQ 4.0 in the default topology.
func TestTopologies(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.10", "4.0", "4.3"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			b := brokertest.RabbitMQ(t, version)
			for _, topology := range topologies {
				t.Run(topology.name, func(t *testing.T) {
					t.Parallel()
					url := b.VHost(t)
					with := func(language string) string {
						return strings.TrimSuffix(url+"?"+strings.ReplaceAll(topology.query, "LANGUAGE", language), "?")
					}
					checkTopology(t, with("py"), with("go"))
				})
			}
		})
	}
}

// TestDirectReplies: Python servers reply to Go clients that have no reply queue.
func TestDirectReplies(t *testing.T) {
	t.Parallel()
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	checkTopology(t, url, url+"?direct_reply_to=true")
}

func checkTopology(t *testing.T, pyURL, goURL string) {
	t.Helper()
	p := sharedPeer(t)
	c := &crew{
		golang:  startService(t, goURL, crewTopic, "go1"),
		py:      p.serve(t, pyURL, crewTopic, "py1", true),
		clients: map[string]client{"go": goClient{open(t, goURL)}, "python": pyClient{p, pyURL}},
	}
	var wg sync.WaitGroup
	for language, client := range c.clients {
		for _, server := range []string{"py1", "go1"} {
			wg.Go(func() { checkCalls(t, language, client, server) })
			wg.Go(func() { checkMonitoredCall(t, language, client, server) })
		}
	}
	wg.Go(func() { checkCastsAndFanout(t, c) })
	wg.Go(func() { checkNotifications(t, p, pyURL, goURL) })
	wg.Wait()
}

func checkCalls(t *testing.T, language string, c client, server string) {
	t.Helper()
	for _, tt := range []struct {
		name string
		request
		want outcome
	}{
		{"named server", request{method: "whoami"}, ok(`"` + server + `"`)},
		{"ping", request{method: "oslo_rpc_server_ping"}, ok(`"pong"`)},
		{"version and namespace", request{method: "where", namespace: "ns1", version: "2.3"}, ok(`"ns1"`)},
		{"exception", request{method: "fail", args: `{"message": "boom"}`}, failed("ValueError", "boom")},
		{"unknown method", request{method: "nope"}, noMethod("nope")},
		{"nobody listens", request{method: "nothing", server: "absent", mandatory: true}, outcome{kind: noRoute}},
		{"large", request{method: "echo", args: `{"value": "` + strings.Repeat("x", 200_000) + `"}`}, ok(`{"value": "` + strings.Repeat("x", 200_000) + `"}`)},
	} {
		r := tt.request
		r.topic, r.server = crewTopic, orElse(r.server, server)
		if d := diff(t, tt.want, c.send(t, r)); d != "" {
			t.Errorf("%s from %s to %s (-want +got):\n%.500s", tt.name, language, server, d)
		}
	}
}

// checkMonitoredCall is apart from checkCalls, to wait while they run.
func checkMonitoredCall(t *testing.T, language string, c client, server string) {
	t.Helper()
	r, want := outlasting()
	r.topic, r.server = crewTopic, server
	if d := diff(t, want, c.send(t, r)); d != "" {
		t.Errorf("monitored call from %s to %s (-want +got):\n%s", language, server, d)
	}
}

func checkCastsAndFanout(t *testing.T, c *crew) {
	t.Helper()
	var once, everywhere []string
	for language, client := range c.clients {
		for i := range 4 {
			args := fmt.Sprintf(`{"cast": %d, "from": "%s"}`, i, language)
			once = append(once, args)
			if got := client.send(t, request{do: "cast", topic: crewTopic, method: "record", args: args}); got.kind != "ok" {
				t.Errorf("cast from %s: %+v", language, got)
			}
		}
		args := fmt.Sprintf(`{"fanout": "%s"}`, language)
		everywhere = append(everywhere, args)
		if got := client.send(t, request{do: "fanout", topic: crewTopic, method: "record", args: args}); got.kind != "ok" {
			t.Errorf("fanout from %s: %+v", language, got)
		}
	}
	py, golang := c.await(t, "record", len(once)+2*len(everywhere))
	want := append(append(once, everywhere...), everywhere...)
	if got := append(py, golang...); !sameElements(got, want) {
		t.Errorf("handled in Python were %q, in Go %q; want each cast once and each fanout twice", py, golang)
	}
	for _, args := range everywhere {
		for language, got := range map[string][]string{"Python": py, "Go": golang} {
			if !slices.Contains(got, args) {
				t.Errorf("%s did not get the fanout %s", language, args)
			}
		}
	}
}

func checkNotifications(t *testing.T, p *peer, pyURL, goURL string) {
	t.Helper()
	out := map[string]publisher{"python": pyPublisher{p, pyURL}, "go": goPublisher{open(t, goURL)}}
	pools := map[string]audience{
		"python": p.hear(t, pyURL, listening{pool: "python", priorities: []notify.Priority{notify.Error}}),
		"go":     listenInGo(t, goURL, listening{pool: "go", priorities: []notify.Priority{notify.Error}}),
	}
	for language, o := range out {
		o.publish(t, publishing{priority: "error", publisher: language, event: "e", payload: `{"id": "v-1"}`})
	}
	for language, a := range pools {
		var from []string
		for _, h := range a.await(t, 2) {
			from = append(from, h.publisher)
		}
		if !sameElements(from, []string{"python", "go"}) {
			t.Errorf("the pool in %s heard %q, want both publishers", language, from)
		}
	}
	// They also wait in the queue that listeners without a pool share.
	both := gather(t, 2, p.hear(t, pyURL, listening{}), listenInGo(t, goURL, listening{}))
	if got := slices.Concat(both...); len(got) != 2 {
		t.Errorf("the listeners without a pool heard %+v", got)
	}
}
