package fake_test

import (
	"context"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

type ignore struct{}

func (ignore) Complete(error) {}

// BenchmarkMessage is what the driver adds to a message: send, poll, settle.
func BenchmarkMessage(b *testing.B) {
	broker := fake.New(nil)
	d := broker.Driver(nil)
	ctx := context.Background()
	in, err := d.Dial(ctx, endpoint("", messaging.Credentials{}))
	if err != nil {
		b.Fatal(err)
	}
	out, err := d.Dial(ctx, endpoint("", messaging.Credentials{}))
	if err != nil {
		b.Fatal(err)
	}
	l, err := in.Listen(ctx, messaging.Subscription{Sources: []messaging.Address{topic}, Prefetch: 64})
	if err != nil {
		b.Fatal(err)
	}
	m := messaging.Message{Body: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		if err := out.Send(ctx, topic, &m, ignore{}); err != nil {
			b.Fatal(err)
		}
		d, err := l.Poll(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Settle(ctx, messaging.Ack); err != nil {
			b.Fatal(err)
		}
	}
}
