package rabbit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/mutetest"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestAlarmIsNoSilence: a broker that has announced that it takes nothing owes no
// answer, however long that lasts.
func TestAlarmIsNoSilence(t *testing.T) {
	const patience = 200 * time.Millisecond
	b := newBroker(t)
	a := topic()
	c := mutetest.Conn(t, patient(patience), b.URL(""))
	r := make(result, 1)
	if err := c.Send(within(t, limit), a, text("0"), r); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	b.ctl(t, "set_vm_memory_high_watermark", "0.00001")
	defer b.ctl(t, "set_vm_memory_high_watermark", "0.6")
	var pending []result
	for { // until the broker says that we are blocked
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		r := make(result, 1)
		err := c.Send(ctx, a, text("1"), r)
		cancel()
		if err != nil {
			wantErr(t, err, messaging.ErrNotSent, context.DeadlineExceeded)
			break
		}
		pending = append(pending, r)
	}
	fanout := topic()
	fanout.Fanout = true
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	if err := c.Send(ctx, fanout, text("2"), nil); !errors.Is(err, context.DeadlineExceeded) { // it declares an exchange
		t.Errorf("a fanout during the alarm: %v", err)
	}
	if err := c.Err(); err != nil {
		t.Fatalf("an alarm costs the connection: %v", err)
	}
	b.ctl(t, "set_vm_memory_high_watermark", "0.6")
	for _, r := range pending {
		if err := r.wait(t); err != nil {
			t.Errorf("outcome %v", err)
		}
	}
}
