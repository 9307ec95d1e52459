package redis_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/discoverytest"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/redis"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestMain(m *testing.M) { os.Exit(discoverytest.Main(m, redis.Backend())) }

func TestSuite(t *testing.T) {
	store := brokertest.Redis(t)
	u, err := url.Parse(store.URL())
	if err != nil {
		t.Fatal(err)
	}
	const lease = 900 * time.Millisecond
	clusters := map[string]string{}
	discoverytest.Run(t, discoverytest.Harness{
		Backend: redis.Backend(),
		Lease:   lease,
		URL: func(t *testing.T) string {
			t.Helper()
			if clusters[t.Name()] == "" {
				clusters[t.Name()] = rand.Text()
			}
			return "zmq://" + u.Host + "/?discovery=redis&discovery_lease=0.9&discovery_interval=0.2&discovery_cluster=" + clusters[t.Name()]
		},
		StopStore: func(t *testing.T) func() {
			t.Helper()
			if err := store.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := store.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		},
	})
}

func TestOptions(t *testing.T) {
	for query, want := range map[string]string{
		"":                     "",
		"discovery_lease=0.1":  "discovery_lease",
		"discovery_interval=0": "discovery_interval",
		"redis_password=Hidden-s3cret&redis_tls=x": "redis_tls",
	} {
		u, err := messaging.ParseURL("zmq://host/3?discovery=redis&" + query)
		if err != nil {
			t.Fatal(err)
		}
		r := u.Options()
		r.String("discovery", "")
		redis.Backend().Configure(u, r)
		switch err := r.Err(); {
		case want == "" && err != nil:
			t.Errorf("%q: %v", query, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Hidden")):
			t.Errorf("%q: %v, want an error about %s that shows no password", query, err, want)
		}
	}
	u, err := messaging.ParseURL("zmq://host/nonsense?discovery=redis")
	if err != nil {
		t.Fatal(err)
	}
	r := u.Options()
	r.String("discovery", "")
	if redis.Backend().Configure(u, r); r.Err() == nil {
		t.Error("a database that is no number was accepted")
	}
}

// TestNoRedis: the first look fails, within its time, and says where.
func TestNoRedis(t *testing.T) {
	u, err := messaging.ParseURL("zmq://127.0.0.1:1/?discovery=redis")
	if err != nil {
		t.Fatal(err)
	}
	d, err := redis.Backend().Configure(u, u.Options())(t.Context(), discoveryConfig(u))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := d.Watch(ctx, func([]string) {}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("watching without a Redis: %v", err)
	}
	if _, err := d.Register(ctx, "tcp://x:1"); err == nil {
		t.Error("registering without a Redis succeeded")
	}
	if err := d.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestReleaseWhileRenewing: what is released stays so, although a renewal was under way.
func TestReleaseWhileRenewing(t *testing.T) {
	store, err := url.Parse(brokertest.Redis(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultproxy.Listen(t.Context(), store.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	}()
	const renewal = 100 * time.Millisecond
	const query = "/?discovery=redis&discovery_lease=0.3"
	far := open(t, "zmq://"+proxy.Addr()+query)
	for range 20 { // which of the two comes first is chance
		lease, err := far.Register(t.Context(), "tcp://released:1")
		if err != nil {
			t.Fatal(err)
		}
		proxy.Blackhole()
		<-time.After(renewal + renewal/4) // one is under way
		released := make(chan error, 1)
		go func() { released <- lease.Release(t.Context()) }()
		<-time.After(renewal / 10) // and so is the release
		proxy.Heal()
		if err := <-released; err != nil {
			t.Fatal(err)
		}
		<-time.After(renewal / 10) // for the renewal
		var there []string
		if err := open(t, "zmq://"+store.Host+query).Watch(t.Context(), func(endpoints []string) { there = endpoints }); err != nil {
			t.Fatal(err)
		}
		if len(there) > 0 {
			t.Fatalf("after its release %v is there", there)
		}
	}
}

func open(t *testing.T, rawURL string) discovery.Discovery {
	t.Helper()
	u, err := messaging.ParseURL(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	d, err := redis.Backend().Configure(u, u.Options())(t.Context(), discoveryConfig(u))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return d
}

func discoveryConfig(u *messaging.URL) discovery.Config {
	return discovery.Config{Hosts: []messaging.HostPort{u.Hosts[0].HostPort()}, Logger: slog.New(slog.DiscardHandler)}
}
