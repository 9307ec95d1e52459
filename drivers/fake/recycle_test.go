package fake_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// A delivery that is used again has nothing of the message that it was of.
func TestReleasedDeliveriesAreNew(t *testing.T) {
	b := fake.New(nil)
	tr, err := messaging.NewTransport(b.Driver(nil), []messaging.Codec{wire.Native(0)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close(t.Context()) })
	st, err := tr.Listen(t.Context(), messaging.Subscription{Sources: []messaging.Address{topic}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, e := range []messaging.Envelope{
			{
				Method: "much", Namespace: "n", Version: "1.2", CallID: "c", ReplyTo: "r", Timeout: time.Hour, Monitor: time.Minute,
				Context: []messaging.ContextValue{{Key: "k", Value: []byte("1")}}, Body: []byte(`{"a":1}`),
			},
			{Method: "little", Version: "1.0", Body: []byte("{}")},
			{Method: "long", Version: "1.0", Body: append(append([]byte(`{"a":"`), bytes.Repeat([]byte("x"), 1000)...), `"}`...)},
		} {
			if err := tr.Send(t.Context(), topic, &e, nil); err != nil {
				t.Fatal(err)
			}
			in, err := st.Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, in.Envelope); diff != "" || in.Redelivered || in.Count != 0 || in.Size != len(e.Body) || in.Deadline.IsZero() != (e.Timeout == 0) {
				t.Errorf("%+v: %s", in, diff)
			}
			if err := in.Settle(t.Context(), messaging.Ack); err != nil {
				t.Fatal(err)
			}
			in.Release()
		}
	}
}
