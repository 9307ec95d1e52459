package messaging_test

import (
	"testing"
	"testing/synctest"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

// chair is a Taker with room for one.
type chair struct {
	taken bool
	got   []*Incoming
}

func (c *chair) Reserve() bool {
	free := !c.taken
	c.taken = true
	return free
}

func (c *chair) Take(in *Incoming) {
	c.got = append(c.got, in)
	c.taken = in != nil
}

func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		st := listen(t, s.open(t, "script://", nil))
		l := s.listener()
		offer := func(d *Delivery) bool {
			taken := l.sub.Deliver(d)
			if !taken {
				l.in <- d
			}
			return taken
		}
		polls := func(id string) {
			t.Helper()
			if in, err := st.Poll(within(t, time.Second)); err != nil || in.ID != id {
				t.Errorf("polled %v, %v, want %s", in, err, id)
			}
		}
		if offer(l.delivery(&Envelope{ID: "early"})) {
			t.Error("taken without a taker")
		}
		polls("early")

		var c chair
		st.Offer(&c)
		undecodable := NewDelivery(Message{ContentType: "text/plain"}, l)
		if !offer(undecodable) || !offer(l.delivery(&Envelope{ID: "early"})) || len(c.got) != 2 || c.got[0] != nil || c.got[1] != nil {
			t.Errorf("what is undecodable and what came before: got %v, want two nil", c.got)
		}
		if !offer(l.delivery(&Envelope{ID: "taken"})) || len(c.got) != 3 || c.got[2].ID != "taken" {
			t.Errorf("got %v", c.got)
		}
		if offer(l.delivery(&Envelope{ID: "late"})) {
			t.Error("taken without room")
		}
		polls("late")
		if err := c.got[2].Settle(t.Context(), Ack); err != nil {
			t.Error(err)
		}
	})
}

// What comes before the stream has its new connection is for Poll: a stream that is
// stopped at that moment drops the connection, and what was settled on it.
func TestOfferWaitsForTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		st := listen(t, s.open(t, "script://", nil))
		st.Offer(&chair{})
		taken := false
		s.mu.Lock()
		s.listen = func(_ int, sub Subscription) (string, error) {
			var m Message
			err := plain{}.Encode(&Envelope{ID: "early"}, &m)
			taken = sub.Deliver(NewDelivery(m, nil))
			return "", err
		}
		s.mu.Unlock()
		s.conn(0).cut()
		elapse(time.Minute)
		s.mu.Lock()
		if taken {
			t.Error("taken before Listen has returned")
		}
		s.mu.Unlock()
		if l := s.listener(); !l.sub.Deliver(l.delivery(&Envelope{ID: "now"})) {
			t.Error("not taken afterwards")
		}
	})
}
