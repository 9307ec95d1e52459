package gossip_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/discoverytest"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/gossip"
	"github.com/patchbay-go/patchbay/internal/freeport"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestMain(m *testing.M) { os.Exit(discoverytest.Main(m, gossip.Backend())) }

func TestSuite(t *testing.T) {
	seeds := map[string]string{}
	discoverytest.Run(t, discoverytest.Harness{
		Backend: gossip.Backend(),
		Lease:   10 * time.Second, // what memberlist's LAN profile needs to be sure
		URL: func(t *testing.T) string {
			t.Helper()
			bind := freePort(t)
			if seeds[t.Name()] == "" {
				seeds[t.Name()] = bind
			}
			return "zmq://" + seeds[t.Name()] + "/?discovery=gossip&gossip_bind=" + bind + "&gossip_secret=MDEyMzQ1Njc4OWFiY2RlZg%3D%3D"
		},
	})
}

// freePort returns an address of loopback that is free until the test ends.
func freePort(t *testing.T) string {
	t.Helper()
	all, release, err := freeport.Reserve(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return all[0]
}

func TestOptions(t *testing.T) {
	for query, want := range map[string]string{
		"gossip_bind=127.0.0.1:0":                   "",
		"gossip_bind=0.0.0.0:7946":                  "gossip_secret",
		"gossip_bind=0.0.0.0:7946&insecure=true":    "",
		"gossip_bind=nonsense":                      "gossip_bind",
		"gossip_bind=127.0.0.1:0&gossip_secret=abc": "gossip_secret",
		"gossip_secret=MDEyMzQ1Njc4OWFiY2RlZg==":    "",
	} {
		u, err := messaging.ParseURL("zmq://host/?discovery=gossip&" + query)
		if err != nil {
			t.Fatal(err)
		}
		r := u.Options()
		r.String("discovery", "")
		r.Bool("insecure", false)
		gossip.Backend().Configure(u, r)
		switch err := r.Err(); {
		case want == "" && err != nil:
			t.Errorf("%q: %v", query, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want an error about %s", query, err, want)
		}
	}
}

// slow is what a seed asks about each member: it overlooks those that listen until
// it has answered a few times, as one that is busy answers before it takes in.
type slow struct {
	mu      sync.Mutex
	refused int
}

func (s *slow) NotifyAlive(n *memberlist.Node) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(n.Meta) > 0 && s.refused < 3 {
		s.refused++
		return errors.New("overlooked")
	}
	return nil
}

// TestRegisteredMeansKnown: once Register has returned, the seeds know, however
// long they take to take it in.
func TestRegisteredMeansKnown(t *testing.T) {
	seedAddress, address := freePort(t), freePort(t)
	config := memberlist.DefaultLANConfig()
	config.Alive, config.LogOutput = &slow{}, io.Discard
	host, port, err := net.SplitHostPort(seedAddress)
	if err != nil {
		t.Fatal(err)
	}
	config.BindAddr = host
	if config.BindPort, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	config.AdvertiseAddr, config.AdvertisePort = config.BindAddr, config.BindPort
	seed, err := memberlist.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := seed.Shutdown(); err != nil {
			t.Error(err)
		}
	}()

	u, err := messaging.ParseURL("zmq://" + seedAddress + "/?gossip_bind=" + address)
	if err != nil {
		t.Fatal(err)
	}
	d, err := gossip.Backend().Configure(u, u.Options())(t.Context(), discovery.Config{
		Hosts: []messaging.HostPort{u.Hosts[0].HostPort()}, Name: "test", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	const endpoint = "tcp://registered:1"
	if _, err := d.Register(t.Context(), endpoint); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(seed.Members(), func(n *memberlist.Node) bool { return string(n.Meta) == endpoint }) {
		t.Errorf("Register has returned, and the seed does not know of %s", endpoint)
	}
}
