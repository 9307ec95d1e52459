package zmq_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestContention has many clients send to few servers with little room: what does
// not fit is turned back, and waits for room in turns. Nothing is lost, nothing
// comes twice, nobody starves, and no server holds more than its prefetch.
func TestContention(t *testing.T) {
	for name, tt := range map[string]struct{ servers, clients, prefetch, pollers int }{
		"one server, room for one":    {1, 6, 1, 1},
		"one server, room for two":    {1, 6, 2, 4},
		"three servers, room for few": {3, 8, 3, 2},
		"room for more than all":      {2, 4, 256, 2},
	} {
		t.Run(name, func(t *testing.T) {
			const each = 150
			url := nodesURL(t, tt.servers, "")
			total := tt.clients * each
			var mu sync.Mutex
			got := map[string]int{}
			handled := make(chan struct{}, total)
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop()
			for range tt.servers {
				l := listenOn(t, dial(t, url), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}, Prefetch: tt.prefetch})
				var held atomic.Int64
				for range tt.pollers {
					wg.Go(func() {
						for {
							d, err := l.Poll(ctx)
							if err != nil {
								return
							}
							if n := held.Add(1); n > int64(tt.prefetch) {
								t.Errorf("a server has %d in hand, its prefetch is %d", n, tt.prefetch)
							}
							mu.Lock()
							got[string(d.Body)]++
							mu.Unlock()
							<-time.After(time.Duration(rand.IntN(200)) * time.Microsecond) //nolint:gosec // a handler takes its time
							held.Add(-1)
							if err := d.Settle(ctx, messaging.Ack); err != nil {
								return
							}
							handled <- struct{}{}
						}
					})
				}
			}
			for c := range tt.clients {
				conn := dial(t, url)
				for s := range 3 { // senders that share a node
					wg.Go(func() {
						for i := s; i < each; i += 3 {
							r := make(result, 1)
							m := &messaging.Message{Body: fmt.Appendf(nil, "%d/%d", c, i)}
							err := conn.Send(ctx, targetOf("work"), m, r)
							if err == nil {
								err = r.wait(ctx)
							}
							if err != nil && ctx.Err() == nil {
								t.Errorf("client %d: %v", c, err)
								return
							}
						}
					})
				}
			}
			late := time.After(limit)
			for n := range total {
				select {
				case <-handled:
				case <-late:
					t.Fatalf("%d of %d were handled, then nothing went on", n, total)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for key, n := range got {
				if n != 1 {
					t.Errorf("%s was handled %d times", key, n)
				}
			}
		})
	}
}

// result is a Completion that can be waited for.
type result chan error

func (r result) Complete(err error) { r <- err }

func (r result) wait(ctx context.Context) error {
	select {
	case err := <-r:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestCutsUnderLoad cuts links all the time, with little room: what was accepted
// is handled, each send has one outcome, and nothing gets stuck.
func TestCutsUnderLoad(t *testing.T) {
	const servers, clients, each = 2, 4, 300
	bind := freePorts(t, servers)
	url, query := "zmq://", "/?bind="
	var proxies []*faultproxy.Proxy
	for i, address := range bind {
		p, err := faultproxy.Listen(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		proxies = append(proxies, p)
		if i > 0 {
			url, query = url+",", query+","
		}
		url, query = url+p.Addr(), query+address
	}
	url += query
	var mu sync.Mutex
	handled := map[string]int{}
	twice := 0
	ctx, stop := context.WithCancel(t.Context())
	var pollers sync.WaitGroup
	defer pollers.Wait()
	defer stop()
	for range servers {
		l := listenOn(t, dial(t, url), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}, Prefetch: 3})
		for range 2 {
			pollers.Go(func() {
				for {
					d, err := l.Poll(ctx)
					if err != nil {
						return
					}
					mu.Lock()
					if handled[string(d.Body)]++; handled[string(d.Body)] > 1 {
						if twice++; !d.Redelivered {
							t.Errorf("%s came again and is not marked as redelivered", d.Body)
						}
					}
					mu.Unlock()
					_ = d.Settle(ctx, messaging.Ack) // its link may be gone
				}
			})
		}
	}
	over := make(chan struct{})
	var cuts sync.WaitGroup
	cuts.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			case <-time.After(30 * time.Millisecond):
			}
			if p := proxies[i%servers]; i%4 < 2 {
				p.Cut()
			} else {
				p.Reset()
			}
		}
	})
	var accepted sync.Map
	var unknown atomic.Int64
	var senders sync.WaitGroup
	for c := range clients {
		conn := dial(t, url)
		for s := range 4 {
			senders.Go(func() {
				for i := s; i < each; i += 4 {
					key := fmt.Sprintf("%d/%d", c, i)
					r := make(result, 1)
					ctx, cancel := context.WithTimeout(ctx, limit)
					err := conn.Send(ctx, targetOf("work"), &messaging.Message{Body: []byte(key)}, r)
					if err == nil {
						err = r.wait(ctx)
					}
					cancel()
					switch {
					case err == nil:
						accepted.Store(key, true)
					case errors.Is(err, messaging.ErrOutcomeUnknown):
						unknown.Add(1)
					default:
						t.Errorf("sending %s: %v", key, err)
						return
					}
				}
			})
		}
	}
	senders.Wait()
	close(over)
	cuts.Wait()
	n := 0
	accepted.Range(func(key, _ any) bool {
		n++
		until(t, fmt.Sprintf("%s to be handled", key), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return handled[key.(string)] > 0
		})
		return !t.Failed()
	})
	stop()
	pollers.Wait() // what was sent again may still come
	t.Logf("%d accepted, %d of unknown outcome, %d handled again", n, unknown.Load(), twice)
}

// TestListenersOfOneNode has two listeners of one node turn back what the same clients
// send, and keep room for them, at the same time.
func TestListenersOfOneNode(t *testing.T) {
	const clients, each = 3, 100
	url := nodesURL(t, 1, "")
	node := dial(t, url)
	topics := []string{"a", "b"}
	ctx, stop := context.WithCancel(t.Context())
	var pollers, senders sync.WaitGroup
	defer pollers.Wait()
	defer stop()
	for _, name := range topics {
		l := listenOn(t, node, messaging.Subscription{Sources: []messaging.Address{targetOf(name)}, Prefetch: 1})
		pollers.Go(func() {
			for {
				d, err := l.Poll(ctx)
				if err != nil {
					return
				}
				_ = d.Settle(ctx, messaging.Ack) // the test may be over
			}
		})
	}
	for range clients {
		conn := dial(t, url)
		for _, name := range topics {
			senders.Go(func() {
				for range each {
					if err := send(t, conn, targetOf(name), "x"); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	senders.Wait()
}
