package rabbit

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// declared is one exchange, queue or binding.
type declared struct {
	Exchange   string         `json:"exchange"`
	Type       string         `json:"type"`
	Queue      string         `json:"queue"`
	Bind       string         `json:"bind"`
	Key        string         `json:"key"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Arguments  map[string]any `json:"arguments"`
}

func (p *plan) declared() []declared {
	var all []declared
	for _, b := range p.bindings {
		x := b.exchange
		all = append(all, declared{Exchange: x.name, Type: x.kind, Durable: x.durable, AutoDelete: x.autoDelete})
	}
	args := map[string]any{}
	for k, v := range p.queue.args {
		if n, ok := v.(int32); ok {
			v = float64(n) // as JSON has it
		}
		args[k] = v
	}
	q := p.queue
	all = append(all, declared{Queue: q.name, Durable: q.durable, AutoDelete: q.autoDelete, Arguments: args})
	for _, b := range p.bindings {
		all = append(all, declared{Bind: q.name, Exchange: b.exchange.name, Key: b.key})
	}
	return all
}

func parse(t *testing.T, query string) *options {
	t.Helper()
	u, err := messaging.ParseURL("rabbit://?" + query)
	if err != nil {
		t.Fatal(err)
	}
	r := u.Options()
	o := readOptions(u, r)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestTopologyIsOslos compares what is declared with what oslo.messaging
// 18.3.1 was seen to declare, in testdata/topology.json.
func TestTopologyIsOslos(t *testing.T) {
	data, err := os.ReadFile("testdata/topology.json")
	if err != nil {
		t.Fatal(err)
	}
	var profiles []struct {
		Profile  string     `json:"profile"`
		Options  string     `json:"options"`
		Declared []declared `json:"declared"`
	}
	if err := json.Unmarshal(data, &profiles); err != nil {
		t.Fatal(err)
	}
	rpc := messaging.Address{Exchange: "myexchange", Topic: "mytopic"}
	named, fanout := rpc, rpc
	named.Server, fanout.Fanout = "srv1", true
	info := messaging.Address{Kind: messaging.KindNotify, Exchange: "myexchange", Topic: "notifications.info"}
	for _, tt := range profiles {
		t.Run(tt.Profile, func(t *testing.T) {
			o := parse(t, tt.Options)
			var got []declared
			for _, sub := range []messaging.Subscription{
				{Sources: []messaging.Address{rpc, named, fanout}, Instance: "INSTANCE"},
				{Sources: []messaging.Address{info}},
				{Reply: "REPLY"},
			} {
				plans, err := o.plans(sub)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range plans {
					if p.prefix != "" {
						p.queue.name = strings.TrimSuffix(p.prefix+o.managed(0), "0") + "N"
					}
					for _, d := range p.declared() {
						if d.Queue == "REPLY" || strings.HasPrefix(d.Queue, "reply_") || strings.HasPrefix(d.Queue, "mytopic_fanout_") {
							// The one difference, of queues that no peer declares: ADR 0006.
							if d.Durable != (o.durable || o.quorum || o.transientQuorum) {
								t.Errorf("private queue %s: durable %v", d.Queue, d.Durable)
							}
							d.Durable = o.transientQuorum
						}
						got = append(got, d)
					}
				}
			}
			less := func(a, b declared) bool { return key(a) < key(b) }
			if diff := cmp.Diff(tt.Declared, unique(got), cmpopts.SortSlices(less), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("declared (-oslo.messaging +here):\n%s", diff)
			}
		})
	}
}

func key(d declared) string {
	return d.Queue + "|" + d.Bind + "|" + d.Exchange + "|" + d.Key + "|" + d.Type
}

func unique(all []declared) []declared {
	seen := map[string]bool{}
	var out []declared
	for _, d := range all {
		if k := key(d); !seen[k] {
			seen[k] = true
			out = append(out, d)
		}
	}
	return out
}

func TestRoutes(t *testing.T) {
	o := parse(t, "")
	for _, tt := range []struct {
		name          string
		to            messaging.Address
		exchange, key string
	}{
		{"topic", messaging.Address{Topic: "t"}, "openstack", "t"},
		{"server", messaging.Address{Topic: "t", Server: "s"}, "openstack", "t.s"},
		{"words that are patterns", messaging.Address{Topic: "a.*.#b", Server: "#"}, "openstack", `a.\*.#b.\#`},
		{"words that look as such became", messaging.Address{Topic: `\*`, Server: `\a`}, "openstack", `\\*.\a`},
		{"exchange", messaging.Address{Exchange: "e", Topic: "t"}, "e", "t"},
		{"fanout", messaging.Address{Exchange: "e", Topic: "t", Fanout: true}, "t_fanout", ""},
		{"notification", messaging.Address{Kind: messaging.KindNotify, Topic: "n.info"}, "openstack", "n.info"},
		{"reply", messaging.Address{Kind: messaging.KindReply, Direct: "reply_1"}, "", "reply_1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := o.route(tt.to); r.exchange.name != tt.exchange || r.key != tt.key {
				t.Errorf("to exchange %q with key %q, want %q, %q", r.exchange.name, r.key, tt.exchange, tt.key)
			}
		})
	}
}

func TestGroupTellsItsSources(t *testing.T) {
	a := messaging.Address{Kind: messaging.KindNotify, Exchange: "a", Topic: "n.info"}
	b, c := a, a
	b.Exchange, c.Topic = "", "n.error"
	plans, err := parse(t, "control_exchange=b").plans(messaging.Subscription{Sources: []messaging.Address{a, b, c}, Group: "g"})
	if err != nil || len(plans) != 1 || plans[0].queue.name != "g" {
		t.Fatalf("plans = %+v, %v; want one queue, g", plans, err)
	}
	for _, tt := range []struct {
		exchange, key string
		want          int
	}{{"a", "n.info", 0}, {"b", "n.info", 1}, {"a", "n.error", 2}, {"from", "elsewhere", 0}} {
		if got := plans[0].index([]byte(tt.exchange), []byte(tt.key)); got != tt.want {
			t.Errorf("from %s, %s: source %d, want %d", tt.exchange, tt.key, got, tt.want)
		}
	}
}

func TestQueueNamesThatCannotBe(t *testing.T) {
	o := parse(t, "")
	for name, sub := range map[string]messaging.Subscription{
		"no reply address":  {},
		"a long instance":   {Sources: []messaging.Address{{Topic: "t", Fanout: true}}, Instance: strings.Repeat("i", 250)},
		"a long group":      {Sources: []messaging.Address{{Topic: "t"}}, Group: strings.Repeat("g", 256)},
		"one that is empty": {Sources: []messaging.Address{{}}},
	} {
		if _, err := o.plans(sub); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLargeArgumentsAreWide(t *testing.T) {
	q := parse(t, "rabbit_quorum_queue=1&rabbit_quorum_max_memory_bytes=3000000000&rabbit_quorum_max_memory_length=7").sharedQueue("q")
	want := amqp.Table{"x-queue-type": "quorum", "x-max-in-memory-bytes": int64(3_000_000_000), "x-max-in-memory-length": int32(7)}
	if diff := cmp.Diff(want, q.args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}
