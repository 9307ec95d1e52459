package amqp1_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/drivers/amqp1"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
)

// newManagedBrokerJ is one that makes no queues by itself.
func newManagedBrokerJ(t *testing.T) *broker {
	t.Helper()
	b := newBroker(t, &broker{Broker: brokertest.BrokerJ(t), column: "Broker-J"})
	var rest string
	b.url, rest = b.BareVHost(t)
	b.url += "?management=" + url.QueryEscape(rest)
	return b
}

// TestManagement: queues are declared over the REST port, whatever they are called,
// and private ones deleted; who is not there is known.
func TestManagement(t *testing.T) {
	b := newManagedBrokerJ(t)
	in, out := dial(t, b, ""), dial(t, b, "")
	if !out.Capabilities().Mandatory {
		t.Error("mandatory messages are not possible")
	}
	m := body("x")
	m.Mandatory = true
	for _, name := range []string{"plain", "a.b/c %2F#é"} {
		a := messaging.Address{Exchange: "x", Topic: name}
		wantErr(t, send(t, out, a, m), messaging.ErrNoRoute)
		l := listen(t, in, sources(a, messaging.Address{Exchange: "x", Topic: name, Fanout: true}))
		mustSend(t, out, a, m)
		settle(t, poll(t, l), messaging.Ack)
		mustSend(t, out, messaging.Address{Exchange: "x", Topic: name, Fanout: true}, body("all"))
		settle(t, poll(t, l), messaging.Ack)
	}
	ensured := body("early")
	ensured.Ensure = true
	late := messaging.Address{Exchange: "x", Topic: "late"}
	mustSend(t, out, late, ensured)
	if d := poll(t, listen(t, in, sources(late))); string(d.Body) != "early" {
		t.Errorf("got %q", d.Body)
	}
	reply := listen(t, in, messaging.Subscription{Reply: "mine", Prefetch: 1})
	to := messaging.Address{Kind: messaging.KindReply, Direct: reply.Address()}
	mustSend(t, out, to, m)
	settle(t, poll(t, reply), messaging.Ack)
	if err := reply.Close(within(t, limit)); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; { // the news may be on its way
		if err := send(t, out, to, m); errors.Is(err, messaging.ErrNoRoute) || time.Since(begin) > limit {
			wantErr(t, err, messaging.ErrNoRoute)
			break
		}
	}
}

// TestManagementConformance runs what depends on queues being there.
func TestManagementConformance(t *testing.T) {
	b := newManagedBrokerJ(t)
	h := conformance.FromURL(messaging.Registry{"amqp1": amqp1.Open}, b.url, nil)
	h.Broker = b.Broker.String()
	conformance.RunWith(t, h, conformance.Options{
		Volume: 0.1, Levels: []conformance.Level{conformance.LevelMust},
		Run: "^(cast_one|cast_exactly|cast_to|cast_no_consumer|call_(reply|late|1000)|fanout_(all|excludes)|names|close)",
	})
}

// TestManagementErrors: what is wrong with the REST port is told, and no password.
func TestManagementErrors(t *testing.T) {
	other, b := newArtemis(t), newBrokerJ(t)
	plain, rest := b.BareVHost(t)
	refuses := speaks(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	for _, tt := range []struct {
		name, management string
		want             []error
	}{
		{"nobody there", "http://127.0.0.1:1", []error{messaging.ErrConnLost}},
		{"no such virtual host", rest + "/no/host", []error{messaging.ErrPermanent}},
		{"refused", "http://" + refuses, []error{messaging.ErrAuth, messaging.ErrPermanent}},
	} {
		c, err := dialURL(t, plain+"?management="+url.QueryEscape(tt.management), limit)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Listen(within(t, limit), sources(topic()))
		wantErr(t, err, tt.want...)
		if err == nil || strings.Contains(err.Error(), "ch4nge-me") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	_, err := dialURL(t, other.url+"?management="+url.QueryEscape(rest), limit)
	wantErr(t, err, messaging.ErrConnect, messaging.ErrPermanent)
}
