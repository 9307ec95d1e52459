package zmq_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func clientOf(tr *messaging.Transport, topic string) *rpc.Client {
	return rpc.NewClient(tr, messaging.Target{Topic: topic}, &rpc.ClientOptions{Timeout: limit})
}

// TestThreeProcesses is what the framework is for: a topic, a name, everybody.
func TestThreeProcesses(t *testing.T) {
	url := nodesURL(t, 4, "")
	names := []string{"a", "b", "c"}
	var servers []*child
	for _, name := range names {
		servers = append(servers, start(t, role{URL: url, Topic: "work", Servers: []string{name}}))
	}
	c := clientOf(open(t, url), "work")

	const n = 90
	for i := range n {
		if err := c.Cast(t.Context(), "record", keyArgs{fmt.Sprintf("any/%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	total := func() (sum int) {
		for _, s := range servers {
			sum += s.all()
		}
		return sum
	}
	until(t, "all casts to be handled", func() bool { return total() >= n })
	for i, s := range servers {
		if s.all() < n/6 {
			t.Errorf("%s handled %d of %d casts", names[i], s.all(), n)
		}
	}
	for i, s := range servers {
		for range 5 {
			who, err := rpc.CallFor[string](t.Context(), c.Prepare(rpc.WithServer(names[i])), "whoami", rpc.None{})
			if err != nil || who != names[i] {
				t.Errorf("a call to %s was answered by %q, %v", names[i], who, err)
			}
		}
		if err := c.Prepare(rpc.WithServer(names[i])).Cast(t.Context(), "record", keyArgs{"named"}); err != nil {
			t.Error(err)
		}
		s.until(t, "a cast by name", func() bool { return s.count("named") == 1 })
	}
	began := time.Now()
	absent := c.Prepare(rpc.WithServer("nobody"))
	if err := absent.Cast(t.Context(), "record", keyArgs{"absent"}); !errors.Is(err, messaging.ErrNoRoute) {
		t.Errorf("a cast to a server that is not there: %v, want %v", err, messaging.ErrNoRoute)
	}
	if err := absent.Call(t.Context(), "whoami", nil, nil); !errors.Is(err, messaging.ErrNoRoute) {
		t.Errorf("a call to a server that is not there: %v, want %v", err, messaging.ErrNoRoute)
	}
	t.Logf("a server that is not there is known in %v", time.Since(began)/2)
	if err := c.Fanout(t.Context(), "record", keyArgs{"everybody"}); err != nil {
		t.Error(err)
	}
	for _, s := range servers {
		s.until(t, "a fanout", func() bool { return s.count("everybody") == 1 })
	}
	until(t, "each request to be handled once", func() bool { return total() == n+2*len(servers) })
	for _, s := range servers {
		if s.count("absent") > 0 {
			t.Error("a cast to a server that is not there reached another")
		}
	}
}

// TestKillMinusNine kills one of three servers in the middle of casts: with late
// acknowledgements none that was accepted is lost, with early ones none is handled
// twice.
func TestKillMinusNine(t *testing.T) {
	const casts, senders, servers = 20_000, 64, 3
	for name, late := range map[string]bool{"late": true, "early": false} {
		t.Run(name, func(t *testing.T) {
			url := nodesURL(t, servers, "")
			var children []*child
			for i := range servers {
				children = append(children, start(t, role{URL: url, Topic: "work", Servers: []string{fmt.Sprint("s", i)}, Late: late}))
			}
			tr := open(t, url)
			c := clientOf(tr, "work")
			await(t, tr, "work", servers)
			accepted := make([]bool, casts)
			var next, done, unknown atomic.Int64
			var wg sync.WaitGroup
			for range senders {
				wg.Go(func() {
					for {
						i := next.Add(1) - 1
						if i >= casts {
							return
						}
						if i == casts/2 {
							wg.Go(func() { children[0].kill(t) })
						}
						switch err := c.Cast(t.Context(), "record", keyArgs{fmt.Sprint(i)}); {
						case err == nil:
							accepted[i] = true
							done.Add(1)
						case errors.Is(err, messaging.ErrOutcomeUnknown):
							unknown.Add(1)
						default:
							t.Errorf("cast %d: %v", i, err)
							return
						}
					}
				})
			}
			wg.Wait()
			handled := func(i int) (n int) {
				for _, c := range children {
					n += c.count(fmt.Sprint(i))
				}
				return n
			}
			missing := func() (n int) {
				for i, ok := range accepted {
					if ok && handled(i) == 0 {
						n++
					}
				}
				return n
			}
			if late {
				until(t, "every accepted cast to be handled", func() bool { return missing() == 0 })
			} else if err := tr.Await(within(t, limit), messaging.Target{Topic: "work"}.Address(), servers-1); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < servers; i++ { // what is on its way comes before this
				if err := c.Prepare(rpc.WithServer(fmt.Sprint("s", i))).Cast(t.Context(), "record", keyArgs{"fence"}); err != nil {
					t.Fatal(err)
				}
				children[i].until(t, "the fence", func() bool { return children[i].count("fence") == 1 })
			}
			twice := 0
			for i := range casts {
				if handled(i) > 1 {
					twice++
				}
			}
			t.Logf("%d casts: %d accepted, %d of unknown outcome; of the accepted %d were lost; %d were handled twice",
				casts, done.Load(), unknown.Load(), missing(), twice)
			switch {
			case late && missing() > 0:
				t.Errorf("%d casts that were accepted were lost", missing())
			case !late && twice > 0:
				t.Errorf("%d casts were handled twice, acknowledged before they were handled", twice)
			case children[0].all() == 0 || children[0].all() == casts:
				t.Errorf("the killed server handled %d casts", children[0].all())
			}
		})
	}
}

// TestServerLost: a call whose server dies fails at once, and says so.
func TestServerLost(t *testing.T) {
	url := nodesURL(t, 1, "")
	s := start(t, role{URL: url, Topic: "work", Servers: []string{"s"}})
	c := clientOf(open(t, url), "work")
	failed := make(chan error, 1)
	go func() { failed <- c.Call(t.Context(), "nap", nil, nil) }()
	s.until(t, "the call to be handled", func() bool { return s.count("napping") == 1 })
	began := time.Now()
	s.kill(t)
	select {
	case err := <-failed:
		if !errors.Is(err, messaging.ErrServerLost) {
			t.Errorf("a call whose server was killed: %v, want %v", err, messaging.ErrServerLost)
		}
		t.Logf("it failed %v after the kill: %v", time.Since(began), err)
	case <-time.After(limit / 2):
		t.Error("a call whose server was killed waits")
	}
	// Nobody is there any more, and that is known too.
	if err := c.Cast(t.Context(), "record", keyArgs{"late"}); !errors.Is(err, messaging.ErrNoRoute) {
		t.Errorf("a cast when the only server is dead: %v, want %v", err, messaging.ErrNoRoute)
	}
}

// TestDiscovery: five nodes find each other; a new one gets work, a dead one none.
func TestDiscovery(t *testing.T) {
	store, err := url.Parse(brokertest.Redis(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	cluster := rand.Text()
	seed := udpPort(t)
	for name, next := range map[string]func() string{
		"redis": func() string {
			return "zmq://" + store.Host + "/?discovery=redis&discovery_cluster=" + cluster + "&bind=127.0.0.1:0"
		},
		"gossip": func() string {
			at := seed
			seed = udpPort(t)
			return "zmq://" + at + "/?discovery=gossip&gossip_bind=" + at + "&bind=127.0.0.1:0"
		},
	} {
		t.Run(name, func(t *testing.T) {
			const nodes = 5
			first := next()
			following := func() string {
				u := next()
				if name == "gossip" { // the seed stays the first one's
					host, _, _ := strings.Cut(strings.TrimPrefix(first, "zmq://"), "/")
					_, rest, _ := strings.Cut(strings.TrimPrefix(u, "zmq://"), "/")
					u = "zmq://" + host + "/" + rest
				}
				return u
			}
			var servers []*child
			for i := range nodes {
				u := first
				if i > 0 {
					u = following()
				}
				servers = append(servers, start(t, role{URL: u, Topic: "work", Servers: []string{fmt.Sprint("s", i)}, Late: true}))
			}
			tr := open(t, following())
			c := clientOf(tr, "work")
			await(t, tr, "work", nodes)
			ctx, stop := context.WithCancel(t.Context())
			var sent, failures atomic.Int64
			var wg sync.WaitGroup
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := c.Cast(t.Context(), "record", keyArgs{fmt.Sprint(sent.Add(1))}); err != nil {
						failures.Add(1)
					}
					<-time.After(time.Millisecond)
				}
			})
			defer wg.Wait()
			defer stop()
			for _, s := range servers {
				s.until(t, "every server to get work", func() bool { return s.all() > 0 })
			}
			late := start(t, role{URL: following(), Topic: "work", Servers: []string{"late"}, Late: true})
			began := time.Now()
			late.until(t, "the new server to get work", func() bool { return late.all() > 0 })
			t.Logf("a new server had work %v after it was ready", time.Since(began))

			lost := tr.Stats().ConnsLost
			servers[1].kill(t)
			until(t, "the loss to be noticed", func() bool { return tr.Stats().ConnsLost > lost })
			before := failures.Load()
			goal := sent.Load() + 200
			until(t, "casts after the loss", func() bool { return sent.Load() > goal })
			if n := failures.Load() - before; n > 1 { // one may have been under way
				t.Errorf("%d of 200 casts failed after the dead server's link was gone", n)
			}
		})
	}
}

// udpPort returns an address of loopback that is free for TCP and for UDP.
func udpPort(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := freePorts(t, 1)[0]
		if p, err := net.ListenPacket("udp", address); err == nil {
			_ = p.Close()
			return address
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return ""
}

// TestScale: a hundred servers and twenty clients, two thousand links.
func TestScale(t *testing.T) {
	const servers, clients = 100, 20
	url := nodesURL(t, servers, "")
	var names []string
	for i := range servers {
		names = append(names, fmt.Sprintf("s%03d", i))
	}
	began := time.Now()
	all := start(t, role{URL: url, Topic: "work", Servers: names})
	t.Logf("%d servers in one process after %v", servers, time.Since(began))
	began = time.Now()
	var wg sync.WaitGroup
	var trs []*messaging.Transport
	for range clients {
		trs = append(trs, open(t, url))
	}
	for i, tr := range trs {
		wg.Go(func() {
			if err := tr.Await(within(t, limit), messaging.Target{Topic: "work"}.Address(), servers); err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			c := clientOf(tr, "work")
			for _, name := range names {
				who, err := rpc.CallFor[string](t.Context(), c.Prepare(rpc.WithServer(name)), "whoami", rpc.None{})
				if err != nil || who != name {
					t.Errorf("client %d: a call to %s was answered by %q, %v", i, name, who, err)
					return
				}
			}
			if err := c.Fanout(t.Context(), "record", keyArgs{fmt.Sprint("client", i)}); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	links := 0
	for _, tr := range trs {
		links += tr.Stats().Links
	}
	t.Logf("%d links and %d calls after %v; the servers' process peaked at %d MiB", links, servers*clients, time.Since(began),
		memory(t, all.cmd.Process.Pid)>>20)
	for i := range clients {
		key := fmt.Sprint("client", i)
		all.until(t, "a fanout to reach everybody", func() bool { return all.count(key) == servers })
	}
}
