package fake_test

import (
	"testing"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

// A sender hands over what others send meanwhile, but not for as long as they send:
// nothing of that is its own wait, which ctx would bound.
func TestSendEndsWhileOthersSend(t *testing.T) {
	const most = 10_000
	b := fake.New(nil)
	others := dial(t, b)
	sub := on(topic)
	handed := 0
	sub.Deliver = func(d *messaging.Delivery) bool {
		settle(t, d, messaging.Ack)
		if handed++; handed < most { // there is another one before this is over
			sent := make(chan error)
			go func() { sent <- others.Send(t.Context(), topic, &messaging.Message{}, ignore{}) }()
			if err := <-sent; err != nil {
				t.Error(err)
			}
		}
		return true
	}
	l := listen(t, b, sub)
	mustSend(t, dial(t, b), topic, "first")
	if handed == most {
		t.Fatalf("one send handed over all the %d", most)
	}
	receive(t, l, 1) // and the rest is Poll's
	wantNothing(t, l)
}
