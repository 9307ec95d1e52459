package zmq

import (
	"log/slog"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestPoolsThatEnd: what has waited for too long is given up, and the pools in which
// nobody is and nothing waits any more are forgotten, not those beside them.
func TestPoolsThatEnd(t *testing.T) {
	cl := newClient(&conn{o: &options{resend: time.Minute}, log: slog.New(slog.DiscardHandler)})
	to := messaging.Address{Kind: messaging.KindNotify, Topic: "events"}
	rt := cl.routes.route(to)
	for _, group := range []string{"left", "stays"} {
		p := rt.pool(group)
		x := &parcel{pool: p, accepted: true, held: time.Now()}
		if group == "left" {
			x.held = x.held.Add(-time.Hour)
		}
		insert(&p.queue, x)
	}
	cl.tick()
	if len(rt.pools) != 1 || rt.pools[0].group != "stays" || rt.pools[0].queue.Len() != 1 {
		t.Errorf("%d pools remain, the first is that of %q", len(rt.pools), rt.pools[0].group)
	}
}
