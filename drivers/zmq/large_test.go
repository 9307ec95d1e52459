package zmq_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestLargeBothWays: calls with large arguments and large results, several at a time,
// as a node sends to another and to itself. Neither side stops reading because the
// other has not read yet.
func TestLargeBothWays(t *testing.T) {
	const calls, size = 6, 8 << 20
	url := nodesURL(t, 1, "write_timeout=5")
	server := dial(t, url)
	for name, client := range map[string]messaging.Conn{"another node": dial(t, url), "itself": server} {
		t.Run(name, func(t *testing.T) {
			topic := "large " + name
			l := listenOn(t, server, messaging.Subscription{Sources: []messaging.Address{targetOf(topic)}, Prefetch: calls})
			if err := client.(messaging.Awaiter).Await(within(t, limit), targetOf(topic), 1); err != nil {
				t.Fatal(err)
			}
			replies := listenOn(t, client, messaging.Subscription{Reply: "replies", Prefetch: calls})
			body := bytes.Repeat([]byte("x"), size)
			var wg sync.WaitGroup
			defer wg.Wait()
			for i := range calls {
				wg.Go(func() {
					r := make(result, 1)
					m := &messaging.Message{Body: body, ReplyTo: "replies", CorrelationID: fmt.Sprint(i)}
					err := client.Send(within(t, limit), targetOf(topic), m, r)
					if err == nil {
						err = r.wait(within(t, limit))
					}
					if err != nil {
						t.Errorf("call %d: %v", i, err)
					}
				})
				wg.Go(func() {
					d, err := l.Poll(within(t, limit))
					if err != nil {
						t.Errorf("polling: %v", err)
						return
					}
					r := make(result, 1)
					to := messaging.Address{Kind: messaging.KindReply, Direct: d.ReplyTo}
					err = server.Send(within(t, limit), to, &messaging.Message{Body: d.Body, CorrelationID: d.CorrelationID}, r)
					if err == nil {
						err = r.wait(within(t, limit))
					}
					if err == nil {
						err = d.Settle(t.Context(), messaging.Ack)
					}
					if err != nil {
						t.Errorf("answering: %v", err)
					}
				})
			}
			for range calls {
				if d := poll(t, replies); d.Lost != nil || len(d.Body) != size {
					t.Errorf("call %s: %d bytes, %v", d.CorrelationID, len(d.Body), d.Lost)
				}
			}
		})
	}
}
