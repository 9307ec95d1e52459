package rabbit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// tapOn is a tap of an address that fetches nothing ahead but one message.
func tapOn(a messaging.Address) messaging.Subscription {
	return messaging.Subscription{Sources: []messaging.Address{a}, Instance: "i", Tap: true, Prefetch: 1}
}

func notification() messaging.Address {
	a := topic()
	a.Kind = messaging.KindNotify
	return a
}

// TestStalledTapHarmsNobody: where an operator has full queues refuse messages, that
// of a tap which stalls refuses none, and has the newest when the tap goes on. Of a
// quorum queue the policy is stronger than what its owner says.
func TestStalledTapHarmsNobody(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		for options, policy := range map[string]string{
			"": `{"max-length":5,"overflow":"reject-publish"}`, "rabbit_transient_quorum_queue=true": `{"max-length":5}`,
		} {
			t.Run(options, func(t *testing.T) {
				const most = 5
				b.ctl(t, "set_policy", "-p", b.url[strings.LastIndex(b.url, "/")+1:], "full", ".*", policy)
				a := notification()
				l := listen(t, dial(t, b, options), tapOn(a))
				out := dial(t, b, options)
				const n = 40
				for i := range n {
					if err := send(t, out, a, text(fmt.Sprint(i))); err != nil {
						t.Fatalf("message %d: %v", i, err)
					}
				}
				var got []string
				for range 1 + most {
					d := poll(t, l)
					got = append(got, string(d.Body))
					settle(t, d, messaging.Ack)
				}
				want := []string{"0"}
				for i := n - most; i < n; i++ {
					want = append(want, fmt.Sprint(i))
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("the tap got %v, want %v", got, want)
				}
			})
		}
	})
}

// TestStalledTapIsBounded: what a tap leaves is not the broker's for ever.
func TestStalledTapIsBounded(t *testing.T) {
	const most = 10_000
	for _, options := range []string{"", "rabbit_transient_quorum_queue=true"} {
		t.Run(options, func(t *testing.T) {
			b := newBroker(t)
			a := notification()
			l := listen(t, dial(t, b, options), tapOn(a))
			first := text("first")
			out := dial(t, b, options)
			mustSend(t, out, a, first)
			for range most + 100 {
				if err := out.Send(t.Context(), a, text("x"), nil); err != nil {
					t.Fatal(err)
				}
			}
			mustSend(t, out, a, text("last"))
			b.raw(t, func(ch *amqp.Channel) {
				for begin := time.Now(); ; <-time.After(10 * time.Millisecond) {
					q, err := ch.QueueDeclarePassive(a.Topic+"_tap_i", false, false, false, false, nil)
					if err != nil {
						t.Fatal(err)
					}
					if q.Messages == most {
						return
					}
					if time.Since(begin) > limit {
						t.Fatalf("%d messages wait, want %d", q.Messages, most)
					}
				}
			})
			if d := poll(t, l); string(d.Body) != "first" {
				t.Errorf("got %q", d.Body)
			}
		})
	}
}
