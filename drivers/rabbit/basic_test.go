package rabbit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestThreeAddresses has two servers: each gets what is sent to it by name,
// both get a fanout, and what is sent to the topic goes to one.
func TestThreeAddresses(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		for _, options := range []string{
			"", "amqp_durable_queues=true", "amqp_auto_delete=true",
			"rabbit_quorum_queue=true&rabbit_transient_quorum_queue=true",
		} {
			t.Run(options, func(t *testing.T) { checkThreeAddresses(t, b, options) })
		}
	})
}

func checkThreeAddresses(t *testing.T, b *broker, options string) {
	a := topic()
	out := dial(t, b, options)
	var servers []messaging.Listener
	for i := range 2 {
		named, fanout := a, a
		named.Server = fmt.Sprint("s", i)
		fanout.Fanout = true
		sub := sources(a, named, fanout)
		sub.Instance = fmt.Sprint("i", i)
		servers = append(servers, listen(t, dial(t, b, options), sub))
	}
	expect := func(l messaging.Listener, source int, body string) {
		t.Helper()
		d := poll(t, l)
		if d.Source != source || string(d.Body) != body {
			t.Errorf("got %q from source %d, want %q from %d", d.Body, d.Source, body, source)
		}
		settle(t, d, messaging.Ack)
	}

	for i, l := range servers {
		named := a
		named.Server = fmt.Sprint("s", i)
		mustSend(t, out, named, text("named"))
		expect(l, 1, "named")
	}
	all := a
	all.Fanout = true
	mustSend(t, out, all, text("all"))
	for _, l := range servers {
		expect(l, 2, "all")
	}
	for range servers { // the broker alternates between them
		mustSend(t, out, a, text("one"))
	}
	for _, l := range servers {
		expect(l, 0, "one")
	}
}

// TestTransientQueuesForbidden: what the default options need is refused, and
// the error says which to use.
func TestTransientQueuesForbidden(t *testing.T) {
	b := newBrokerOf(t, "4.3-strict")
	b.options = ""
	for what, sub := range map[string]messaging.Subscription{
		"topic": sources(topic()),
		"reply": {Reply: topic().Topic, Prefetch: 1},
	} {
		_, err := dial(t, b, "").Listen(t.Context(), sub)
		wantErr(t, err, messaging.ErrPermanent)
		if err == nil || !strings.Contains(err.Error(), "amqp_durable_queues=true") {
			t.Errorf("%s: error %v does not say what to do", what, err)
		}
	}
}
