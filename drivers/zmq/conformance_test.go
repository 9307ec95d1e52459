package zmq_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/internal/freeport"
	"github.com/patchbay-go/patchbay/internal/semantics"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestConformance runs the public suite over TCP, through proxies that can cut
// the links.
func TestConformance(t *testing.T) {
	report := conformance.RunWith(t, harness(t), conformance.Options{Volume: 0.1})
	if len(report.Cases) == len(conformance.List()) { // not of chosen cases only
		semantics.Check(t, semantics.Document, "zmq", report)
	}
}

const nodes = 16 // how many can listen at a time in one case

// harness returns a URL of several endpoints: nodes bind the real ones, and dial
// the proxies before them.
func harness(t *testing.T) conformance.Harness {
	t.Helper()
	var bind, hosts []string
	var proxies []*faultproxy.Proxy
	for _, address := range freePorts(t, nodes) {
		p, err := faultproxy.Listen(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		proxies = append(proxies, p)
		bind = append(bind, address)
		hosts = append(hosts, p.Addr())
	}
	const credentials = "guest:conformance-Own-s3cret"
	url := func(credentials string, hosts ...string) string {
		for i := range hosts {
			hosts[i] = credentials + "@" + hosts[i]
		}
		return fmt.Sprintf("zmq://%s/?bind=%s&heartbeat_interval=0.5&heartbeat_timeout=2&max_message_size=%d",
			strings.Join(hosts, ","), strings.Join(bind, ","), 8<<20)
	}
	h := conformance.FromURL(messaging.Registry{"zmq": zmq.Open}, url(credentials, hosts...),
		&messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	h.Broker = "none"
	h.Silence = 3 * time.Second
	h.Fault = conformance.LinkFaults(proxies...)
	h.Unreachable = url(credentials, mute(t))
	h.Strangers = conformance.Strangers{
		Endpoints: bind,
		Oversized: append(login(credentials, ""), 2, 0, 4, 0, 0, 0, 0, 0, 0), // a frame of 1 PiB
		Identity:  append(login(credentials, "somebody"), hello(7)...),
	}
	return h
}

// login is all that a DEALER with a password says until its traffic begins, without
// waiting for an answer.
func login(credentials, identity string) []byte {
	username, password, _ := strings.Cut(credentials, ":")
	b := greeting()
	copy(b[12:32], "PLAIN")
	b = append(b, command("HELLO", append(append(append([]byte{byte(len(username))}, username...), byte(len(password))), password...))...)
	return append(b, command("INITIATE", metadata(identity))...)
}

// freePorts returns addresses of loopback where nobody listens, until the test ends.
func freePorts(tb testing.TB, n int) []string {
	tb.Helper()
	all, release, err := freeport.Reserve(context.Background(), n)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(release)
	return all
}

// mute returns the address of a listener that never says anything.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
