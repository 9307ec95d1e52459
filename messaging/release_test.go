package messaging_test

import (
	"context"
	"testing"
	"testing/synctest"

	. "github.com/patchbay-go/patchbay/messaging"
)

// recycler is a Settler that counts what it is given back.
type recycler struct{ got []*Delivery }

func (*recycler) Settle(context.Context, *Delivery, Outcome) error { return nil }
func (r *recycler) Recycle(d *Delivery)                            { r.got = append(r.got, d) }

// recyclable returns a delivery of a message with that id, and who gets it back.
func recyclable(l *scriptListener, id string) (*Delivery, *recycler) {
	r := &recycler{}
	return NewDelivery(l.delivery(&Envelope{ID: id}).Message, r), r
}

func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		st := listen(t, s.open(t, "script://", nil))
		poll := func(d *Delivery) *Incoming {
			t.Helper()
			s.listener().in <- d
			in, err := st.Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return in
		}

		d, r := recyclable(s.listener(), "a")
		in := poll(d)
		if in.Release(); len(r.got) != 0 {
			t.Error("given back before it was settled")
		}
		if err := in.Settle(t.Context(), Ack); err != nil {
			t.Fatal(err)
		}
		if in.Release(); len(r.got) != 1 || r.got[0] != d {
			t.Errorf("given back: %v, want %v", r.got, d)
		}

		// One that came again is in use for as long as the first, and the other way round.
		d, r = recyclable(s.listener(), "b")
		in = poll(d)
		d, again := recyclable(s.listener(), "b")
		d.Redelivered = true
		s.listener().in <- d
		d, _ = recyclable(s.listener(), "c")
		poll(d)
		if err := in.Settle(t.Context(), Ack); err != nil {
			t.Fatal(err)
		}
		if in.Release(); len(r.got) != 0 || len(again.got) != 0 {
			t.Errorf("given back: %v and %v", r.got, again.got)
		}

		// To a driver that does not want it.
		in = poll(s.listener().delivery(&Envelope{ID: "d"}))
		if err := in.Settle(t.Context(), Ack); err != nil {
			t.Fatal(err)
		}
		in.Release()
	})
}

// A Trace may keep what it is shown.
func TestReleaseWithTrace(t *testing.T) {
	for name, trace := range map[string]*Trace{
		"received": {Received: func(*Incoming) {}},
		"settled":  {Settled: func(*Incoming, Outcome, error) {}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				st := listen(t, s.open(t, "script://", &Options{Trace: trace}))
				d, r := recyclable(s.listener(), "a")
				s.listener().in <- d
				in, err := st.Poll(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := in.Settle(t.Context(), Ack); err != nil {
					t.Fatal(err)
				}
				if in.Release(); len(r.got) != 0 {
					t.Error("given back")
				}
			})
		})
	}
}
