package amqp1_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/mutetest"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestNoCreditHoldsUpNobodyElse: an address that takes nothing, as one that is full,
// makes those wait who send to it, however many they are, and not the others on its
// connection.
func TestNoCreditHoldsUpNobodyElse(t *testing.T) {
	b := newBrokerJ(t)
	proxy := mutetest.NewProxy(t, b.host(t), mutetest.Protocol{Head: 8, Size: frameSize})
	u := parsed(t, b.url)
	u.Host = proxy.Addr
	c, err := dialURL(t, u.String(), limit)
	if err != nil {
		t.Fatal(err)
	}
	open, full := topic(), topic()
	for _, a := range []messaging.Address{open, full} {
		listen(t, dial(t, b, ""), sources(a))
	}
	mustSend(t, c, open, body("has a link, with credit"))
	proxy.Swallow(func(frame []byte) bool { return performativeOf(frame) == 0x13 })

	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	for range 400 { // more than the window has room for
		waiting.Go(func() {
			if err := c.Send(ctx, full, body("waits"), nil); err == nil {
				t.Error("sent without credit")
			} else {
				wantErr(t, err, messaging.ErrNotSent, context.Canceled)
			}
		})
	}
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		mustSend(t, c, open, body("passes"))
	}
}
