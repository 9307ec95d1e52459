package amqp1

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
)

func TestNativeNodes(t *testing.T) {
	n := nativeAddresses{"openstack"}
	for _, tt := range []struct {
		give messaging.Address
		want node
	}{
		{messaging.Address{Topic: "volume"}, node{nodeWork, "rpc.openstack.volume"}},
		{messaging.Address{Exchange: "x", Topic: "volume", Server: "host-1.example"}, node{nodeWork, "rpc.x.volume.host-1%2Eexample"}},
		{messaging.Address{Topic: "volume", Fanout: true}, node{nodeBroadcast, "fanout.openstack.volume"}},
		{messaging.Address{Kind: messaging.KindNotify, Topic: "notifications.info"}, node{nodeNotes, "notify.openstack.notifications%2Einfo"}},
		{messaging.Address{Topic: "a/b c::*#é"}, node{nodeWork, "rpc.openstack.a%2Fb%20c%3A%3A%2A%23%C3%A9"}},
	} {
		if got := n.node(tt.give); got != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.give, got, tt.want)
		}
	}
	// No two addresses are one node.
	if a, b := n.node(messaging.Address{Topic: "a.b"}), n.node(messaging.Address{Topic: "a", Server: "b"}); a == b {
		t.Errorf("two addresses are %v", a)
	}
}

func TestFit(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, limit := range []int{0, 255, 300} {
		got := fit(long, limit)
		if limit != 255 && got != long {
			t.Errorf("limit %d: %q", limit, got)
		}
		if limit == 255 && (len(got) != 255 || got == fit(long+"y", 255) || got != fit(long, 255)) {
			t.Errorf("limit %d: %q", limit, got)
		}
	}
}

// TestOsloAddresses compares with what Python's driver put on the wire.
func TestOsloAddresses(t *testing.T) {
	data, err := os.ReadFile("../../messaging/wire/testdata/amqp1/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Name, To string }
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	python := map[string]string{}
	topics := map[string]string{}
	for _, v := range vectors {
		python[v.Name] = v.To
		mode, name, _ := strings.Cut(v.Name, "/")
		if name == "cast" {
			topics[mode] = v.To[strings.LastIndexAny(v.To, "./")+1:]
		}
	}
	for _, mode := range []string{modeLegacy, modeRoutable} {
		u, err := messaging.ParseURL("amqp1://host/?wire=oslo&addressing_mode=" + mode)
		if err != nil {
			t.Fatal(err)
		}
		r := u.Options()
		o := readOptions(u, r)
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		address := o.addressing(generic())
		for name, a := range map[string]messaging.Address{
			"cast":                   {Exchange: "exa", Topic: topics[mode]},
			"fanout_cast":            {Exchange: "exa", Topic: topics[mode], Fanout: true},
			"call_request_server_ns": {Exchange: "exa", Topic: topics[mode], Server: "s1"},
			"notify_v1":              {Kind: messaging.KindNotify, Topic: topics[mode] + ".info"},
		} {
			want := python[mode+"/"+name]
			// The vectors of one mode are of several runs, whose topics differ.
			got := address.node(a).name
			if cut := func(s string) string { return strings.ReplaceAll(s, topics[mode], "T") }; cut(got) != replaceRun(want) {
				t.Errorf("%s %s: %s, Python's is %s", mode, name, got, want)
			}
		}
	}
}

// replaceRun replaces the topic of a vector, raw and a number, by T.
func replaceRun(address string) string {
	i := strings.Index(address, "raw")
	if i < 0 {
		return address
	}
	j := i + 3
	for j < len(address) && '0' <= address[j] && address[j] <= '9' {
		j++
	}
	return address[:i] + "T" + address[j:]
}

func TestOsloVirtualHost(t *testing.T) {
	for query, want := range map[string]string{
		"":                            "unicast.vh.openstack.t",
		"&pseudo_vhost=false":         "unicast.openstack.t",
		"&group_request_prefix=g":     "g.vh.openstack.t",
		"&default_rpc_exchange=nova":  "unicast.vh.nova.t",
		"&addressing_mode=routable":   "openstack.org/om/rpc/anycast/vh/openstack/t",
		"&rpc_address_prefix=ignored": "unicast.vh.openstack.t",
	} {
		u, err := messaging.ParseURL("amqp1://host/vh?wire=oslo" + query)
		if err != nil {
			t.Fatal(err)
		}
		o := readOptions(u, u.Options())
		if got := o.addressing(brokerJ()).node(messaging.Address{Topic: "t"}).name; got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
		if hostname := o.vhost; (hostname == "vh") != strings.Contains(query, "pseudo_vhost") {
			t.Errorf("%s: the virtual host is asked for as %q", query, hostname)
		}
	}
}

func TestProfiles(t *testing.T) {
	for product, want := range map[string]string{
		"RabbitMQ":                  "rabbitmq",
		"Apache Qpid Broker-J Core": "qpid",
		"apache-activemq-artemis":   "artemis",
		"qpid-dispatch-router":      "generic",
		"":                          "generic",
	} {
		if got := profileOf(product).name; got != want {
			t.Errorf("%q is %s, want %s", product, got, want)
		}
	}
	if diff := cmp.Diff([]string{"rabbitmq", "qpid", "artemis", "generic"}, profileNames()); diff != "" {
		t.Error(diff)
	}
	for version, want := range map[string]bool{"4.3.6": true, "4.2": false, "5.0.0": true, "3.13": false, "": false, "x.y": false} {
		if got := rabbitMQ().capabilities(version).DeliveryCount; got != want {
			t.Errorf("RabbitMQ %q: a delivery count %v", version, got)
		}
	}
}

// TestRabbitMQNames: what is declared is what is sent to, however long it is.
func TestRabbitMQNames(t *testing.T) {
	p := rabbitMQ()
	long := node{nodeWork, "rpc.openstack." + strings.Repeat("t", 200) + "." + strings.Repeat("s", 54)}
	q := p.queue(long, "i")
	if len(q.name) != 255 || !strings.HasSuffix(p.target(long).address, q.name[len(q.name)-20:]) {
		t.Errorf("queue %q, target %q", q.name, p.target(long).address)
	}
	fan := p.queue(node{nodeBroadcast, "fanout.x.t"}, "i1")
	if fan.name != "fanout.x.t.i1" || !fan.private || !cmp.Equal(fan.bindings, []string{"fanout.x.t"}) {
		t.Errorf("%+v", fan)
	}
	if got := p.target(node{nodeNotes, "notify.x.a%2Eb"}).address; got != "/exchanges/amq.direct/notify.x.a%252Eb" {
		t.Errorf("notifications go to %s", got)
	}
}

func TestRabbitMQQueueAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"/queues/reply.x": true, "/queues/a%2Fb": true, "/queues/%F0%9F%93%AC": true, "/queues/a+b": true,
		"": false, "/queues": false, "/queues/": false, "/queues/a/b": false, "/queues/%zz": false, "/queues/%": false, "/queues/%ff": false,
		"queues/x": false, "/queue/x": false, "/exchanges/amq.direct/x": false, "reply.x": false,
	} {
		if isQueueAddress(address) != want {
			t.Errorf("%q: %v", address, !want)
		}
	}
	long := rabbitMQ().target(node{nodeReply, "reply. ü/*#%\x00"}).address
	if !isQueueAddress(long) {
		t.Errorf("our own %q is none", long)
	}
}
