package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// outagePatience is how long one request may wait for a broker that restarts.
const outagePatience = 3 * time.Minute

// recovery is how soon after the broker is back everything receives again.
const recovery = 10 * time.Second

// TestCastsSurviveTheBroker is the promise of --ack late: casts that the broker
// accepted are handled, whatever happens to the broker meanwhile, and
// afterwards every listener receives again, not only looks alive.
func TestCastsSurviveTheBroker(t *testing.T) {
	broker := brokertest.RabbitMQ(t, "4.3")
	outages := []struct {
		name     string
		stop, up func(context.Context) error
	}{
		{"stop_app and start_app", broker.StopApp, broker.StartApp},
		{"kill and start", broker.Kill, broker.Start},
	}
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			url := broker.VHost(t) + "?amqp_durable_queues=true"
			survive(t, url, newClient(t, url), o.stop, o.up)
		})
	}
}

// TestDurableCastsSurviveAnAMQP1Broker is the same over AMQP 1.0, where a message
// is durable if the client says so.
func TestDurableCastsSurviveAnAMQP1Broker(t *testing.T) {
	onAMQP1(t, func(t *testing.T, broker *brokertest.Broker, url string) {
		survive(t, url, newClient(t, url).Prepare(rpc.WithDurable(true)), broker.Kill, broker.Start)
	})
}

// survive has a server that acknowledges late, and casts to it while the broker
// goes away and comes back.
func survive(t *testing.T, url string, client *rpc.Client, stop, up func(context.Context) error) {
	t.Helper()
	server := startServer(t, "--url", url, "--topic", "t", "--server", "s1", "--ack", "late", "--workers", "1") // one, so that a queue builds up
	client = client.Prepare(rpc.WithTimeout(outagePatience))
	mustCall(t, client, "before the outage") // the reply listener is one of those that must come back

	c := &soak{client: client, halfway: make(chan struct{})}
	var wg sync.WaitGroup
	for range soakWorkers {
		wg.Go(func() { c.run(t.Context()) })
	}
	<-c.halfway
	if err := errors.Join(stop(t.Context()), up(t.Context())); err != nil {
		t.Fatal(err)
	}
	allReceive(t, url, client, server)
	wg.Wait()

	t.Logf("%d casts: %d accepted, %d unknown", soakCasts, len(c.accepted), len(c.unknown))
	for _, err := range c.failed {
		t.Errorf("a cast was neither accepted nor unknown: %v", err)
	}
	if len(c.accepted) < soakCasts/2 {
		t.Errorf("only %d of %d casts were accepted", len(c.accepted), soakCasts)
	}
	server.stdout.await(t, "all accepted casts to be handled", func(lines []string) bool {
		return len(c.missing(announcements(t, lines, "record"))) == 0
	})
}

const (
	soakCasts   = 1000
	soakWorkers = 32
)

// soak casts numbers and keeps what became of each.
type soak struct {
	client  *rpc.Client
	halfway chan struct{} // closed when a part of the casts is under way

	mu       sync.Mutex
	next     int // guarded by mu, like all below
	accepted []int
	unknown  []int
	failed   []error
}

func (s *soak) run(ctx context.Context) {
	for {
		s.mu.Lock()
		n := s.next
		s.next++
		if n == soakCasts/4 {
			close(s.halfway)
		}
		s.mu.Unlock()
		if n >= soakCasts {
			return
		}
		err := s.client.Cast(ctx, "record", rpc.Args{"n": n})
		s.mu.Lock()
		switch {
		case err == nil:
			s.accepted = append(s.accepted, n)
		case errors.Is(err, messaging.ErrOutcomeUnknown):
			s.unknown = append(s.unknown, n)
		default:
			s.failed = append(s.failed, fmt.Errorf("cast %d: %w", n, err))
		}
		s.mu.Unlock()
	}
}

// missing returns the accepted casts that are not among those handled.
func (s *soak) missing(handled []announcement) []int {
	seen := map[json.Number]bool{}
	for _, a := range handled {
		seen[a.Args["n"]] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []int
	for _, n := range s.accepted {
		if !seen[json.Number(strconv.Itoa(n))] {
			missing = append(missing, n)
		}
	}
	return missing
}

// allReceive proves, from now on within the time promised, that the server
// receives at its topic, at its name and from the fanout, and the client its replies;
// and that a client which starts only now does.
func allReceive(t *testing.T, url string, client *rpc.Client, server *process) {
	t.Helper()
	start := time.Now()
	client = client.Prepare(rpc.WithTimeout(recovery))
	mustCall(t, client, "at the topic, after the outage")
	mustCall(t, client.Prepare(rpc.WithServer("s1")), "by name, after the outage")
	// The server subscribes to all three at once, so it has joined the fanout.
	if err := client.Fanout(t.Context(), "none", rpc.None{}); err != nil {
		t.Fatalf("fanout after the outage: %v", err)
	}
	server.stdout.await(t, "the fanout", func(lines []string) bool {
		for _, a := range announcements(t, lines, "none") {
			if a.Event == "fanout" {
				return true
			}
		}
		return false
	})
	t.Logf("all listeners receive again, seen after %v", time.Since(start).Round(time.Millisecond))

	mustCall(t, newClient(t, url).Prepare(rpc.WithTimeout(recovery)), "by a new client")
}

// mustCall calls and gets its reply.
func mustCall(t *testing.T, c *rpc.Client, when string) {
	t.Helper()
	name, err := rpc.CallFor[string](t.Context(), c, "whoami", rpc.None{})
	if err != nil || name != "s1" {
		t.Fatalf("calling %s: got %q, %v", when, name, err)
	}
}
