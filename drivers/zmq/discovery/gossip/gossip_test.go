package gossip_test

import (
	"os"
	"strings"
	"testing"
	"time"

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
