package zmq_test

import (
	"context"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/messaging"
)

// dial returns a node below the core.
func dial(tb testing.TB, rawURL string) messaging.Conn {
	tb.Helper()
	u, err := messaging.ParseURL(rawURL)
	if err != nil {
		tb.Fatal(err)
	}
	d, _, err := zmq.Open(u, quiet().WithDefaults())
	if err != nil {
		tb.Fatal(err)
	}
	ep := messaging.Endpoint{Name: tb.Name(), Credentials: func(context.Context) (messaging.Credentials, error) {
		return messaging.Credentials{}, nil
	}}
	for _, h := range u.Hosts {
		ep.Hosts = append(ep.Hosts, h.HostPort())
	}
	c, err := d.Dial(tb.Context(), ep)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func listenOn(tb testing.TB, c messaging.Conn, sub messaging.Subscription) messaging.Listener {
	tb.Helper()
	if sub.Prefetch == 0 {
		sub.Prefetch = 256
	}
	l, err := c.Listen(tb.Context(), sub)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// BenchmarkOneWay sends messages as fast as a server in the same process takes
// and settles them.
func BenchmarkOneWay(b *testing.B) {
	url := nodesURL(b, 1, "")
	l := listenOn(b, dial(b, url), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}})
	c := dial(b, url)
	m := &messaging.Message{ContentType: "application/octet-stream", Body: make([]byte, 100)}
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan error, 1)
	go func() {
		for range b.N {
			d, err := l.Poll(b.Context())
			if err == nil {
				err = d.Settle(b.Context(), messaging.Ack)
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range b.N {
		if err := c.Send(b.Context(), targetOf("work"), m, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
