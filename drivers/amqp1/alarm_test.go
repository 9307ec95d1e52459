package amqp1_test

import (
	"context"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/mutetest"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestAlarmIsNoSilence: a broker that has announced that it takes nothing owes no
// answer, however long that lasts.
func TestAlarmIsNoSilence(t *testing.T) {
	const patience = 200 * time.Millisecond
	b := newRabbitMQ(t, "4.3")
	a := topic()
	c, in := mutetest.Conn(t, patient(patience), b.URL("")), mutetest.Conn(t, patient(patience), b.URL(""))
	r := make(result, 1)
	if err := c.Send(within(t, limit), a, body("0"), r); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	watermark := func(limit string) {
		if _, err := b.Exec(t.Context(), "rabbitmqctl", "-q", "set_vm_memory_high_watermark", limit); err != nil {
			t.Error(err)
		}
	}
	watermark("0.00001")
	defer watermark("0.6")
	var pending []result
	for { // until the broker says that we are blocked
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		r := make(result, 1)
		err := c.Send(ctx, a, body("1"), r)
		cancel()
		if err != nil {
			wantErr(t, err, messaging.ErrNotSent, context.DeadlineExceeded)
			break
		}
		pending = append(pending, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	if _, err := in.Listen(ctx, sources(topic())); err != nil { // it declares a queue
		wantErr(t, err, context.DeadlineExceeded)
	}
	<-ctx.Done()
	if err := in.Err(); err != nil {
		t.Errorf("an alarm costs a connection that listens: %v", err)
	}
	if err := c.Err(); err != nil {
		t.Fatalf("an alarm costs the connection: %v", err)
	}
	watermark("0.6")
	for _, r := range pending {
		if err := r.wait(t); err != nil {
			t.Errorf("outcome %v", err)
		}
	}
}
