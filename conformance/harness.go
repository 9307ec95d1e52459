package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/messaging"
)

// Harness tells the suite how to reach what it tests. Only Open is required.
type Harness struct {
	// Open returns a new Transport; each stands for a process of its own. The
	// suite closes it. It is called concurrently. Names of topics, servers and
	// exchanges are the suite's and differ from run to run, so that a broker
	// may be shared.
	Open func(ctx context.Context) (*messaging.Transport, error)

	// OpenURL returns a Transport for any URL, good or bad, and URL is one that
	// works. With both, the cases about opening run; without, they are skipped
	// and the report says so.
	OpenURL func(ctx context.Context, rawURL string) (*messaging.Transport, error)
	URL     string

	// Unreachable is a URL where nobody answers, and WrongPassword one whose
	// credentials the peer refuses. Empty: what there is to show is skipped.
	Unreachable   string
	WrongPassword string

	// Failover is a URL of two hosts, the first of which does not answer. Empty:
	// failover is not shown.
	Failover string

	// Silence is how long a transport takes at most to notice that nothing comes
	// from its peer any more, by heartbeats. Zero: it is not known, and not shown.
	Silence time.Duration

	// DeadLetters counts the messages of a topic that the peer keeps aside
	// because they were dropped. Nil: DeadLetter is not proven.
	DeadLetters func(ctx context.Context, topic string) (int, error)

	// Strangers reach the transports where these listen on the network themselves.
	// Its zero value is for drivers with a broker.
	Strangers Strangers

	// Fault breaks things. Its zero value skips the fault level.
	Fault Faults

	// Known lists the cases that are known to fail. They are still run.
	Known []Exception

	// Scale multiplies every wait, for slow machines. Default: 1.
	Scale float64

	Driver string // for the report: the driver's name
	Broker string // for the report: the peer and its version

	said *transcript // by errors, and by the logger if FromURL made the Harness
}

// Faults breaks the link between the transports of a Harness and their peer, or
// the peer itself. A nil func is a fault that cannot be made: cases that need it
// are skipped. Every fault acts on all transports at once and returns when it
// is in force. Package faultproxy makes the link faults; see LinkFaults.
type Faults struct {
	Cut       func(ctx context.Context) error                  // close every connection; new ones are let through
	Reset     func(ctx context.Context) error                  // as Cut, with a TCP reset
	Blackhole func(ctx context.Context) error                  // let every connection live and pass nothing
	RefuseNew func(ctx context.Context) error                  // refuse new connections
	Delay     func(ctx context.Context, d time.Duration) error // hold back all bytes for d
	CutAfter  func(ctx context.Context, n int64) error         // Cut when n more bytes went to the peer
	CutAnswer func(ctx context.Context) error                  // Reset as soon as the peer says anything, which is lost
	Block     func(ctx context.Context) error                  // make senders wait, as a peer without memory does; receiving goes on
	Heal      func(ctx context.Context) error                  // end all of the above

	Restart func(ctx context.Context) error // stop the peer in good order and start it again
	Kill    func(ctx context.Context) error // kill the peer and start it again
}

// Exception marks a case that is known to fail for a driver or a broker, with
// the reason and a link to where it is discussed. A failure is then reported as
// xfail and a pass as xpass, so that the entry can be removed. A Flaky one may
// also pass.
type Exception struct {
	Case   string
	Reason string
	Link   string
	Flaky  bool
}

// FromURL returns a Harness for a URL that works, opened with reg and opts
// (nil: defaults). Where the URL names a host, it derives URLs that do not: an
// address where nobody listens and, if there is a password, one with another.
// What the transports log is searched for passwords, and goes on to opts.Logger.
func FromURL(reg messaging.Registry, rawURL string, opts *messaging.Options) Harness {
	said := newTranscript(rawURL)
	opts = said.under(opts)
	h := Harness{
		said:    said,
		OpenURL: func(ctx context.Context, u string) (*messaging.Transport, error) { return reg.Open(ctx, u, opts) },
		URL:     rawURL,
	}
	h.Open = func(ctx context.Context) (*messaging.Transport, error) { return h.OpenURL(ctx, rawURL) }

	u, err := messaging.ParseURL(rawURL)
	if err != nil {
		return h // Open says what is wrong with it
	}
	h.Driver, _, _ = strings.Cut(u.Scheme, "+")
	if len(u.Hosts) == 0 || u.Hosts[0].Hostname == "" {
		return h
	}
	host := u.Hosts[0]
	_, rest, _ := strings.Cut(rawURL, "://")
	rest = rest[len(rest)-len(strings.TrimLeftFunc(rest, func(r rune) bool { return r != '/' && r != '?' })):]
	rebuild := func(credentials *url.Userinfo, address string) string {
		s := u.Scheme + "://"
		if host.HasUsername {
			s += credentials.String() + "@"
		}
		return s + address + rest
	}
	address := host.Hostname
	if host.Port != 0 {
		address = host.HostPort().String()
	}
	own := url.UserPassword(host.Username, host.Password)
	h.Unreachable = rebuild(own, closedPort())
	second := address
	if host.HasUsername {
		second = own.String() + "@" + address
	}
	h.Failover = rebuild(own, closedPort()+","+second)
	if host.HasPassword {
		h.WrongPassword = rebuild(url.UserPassword(host.Username, wrongPassword), address)
	}
	return h
}

const wrongPassword = "conformance-Wr0ng-s3cret" // looked for in error texts, where it must not be

// check fills in defaults and says what is missing.
func (h Harness) check() (Harness, error) {
	if h.Open == nil {
		return h, errors.New("starting the suite: Harness.Open is nil")
	}
	if h.said == nil {
		h.said = newTranscript(h.URL)
	}
	if h.Scale <= 0 {
		h.Scale = 1
	}
	for _, x := range h.Known {
		if !known(x.Case) {
			return h, fmt.Errorf("starting the suite: Harness.Known names %q, which is no case", x.Case)
		}
		if x.Reason == "" {
			return h, fmt.Errorf("starting the suite: Harness.Known gives no reason for %s", x.Case)
		}
	}
	return h, nil
}

// exception returns the entry for a case.
func (h *Harness) exception(id string) (Exception, bool) {
	for _, x := range h.Known {
		if x.Case == id {
			return x, true
		}
	}
	return Exception{}, false
}

// closedPort returns an address of this machine where nobody listens: one that
// was free a moment ago.
func closedPort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait for anything
	if err != nil {
		return "127.0.0.1:1"
	}
	defer l.Close()
	return l.Addr().String()
}

// LinkFaults returns the link faults of the proxies through which all transports
// of a Harness are dialled, one for each host.
func LinkFaults(proxies ...*faultproxy.Proxy) Faults {
	do := func(f func(*faultproxy.Proxy)) func(context.Context) error {
		return func(context.Context) error {
			for _, p := range proxies {
				f(p)
			}
			return nil
		}
	}
	return Faults{
		Cut:       do((*faultproxy.Proxy).Cut),
		Reset:     do((*faultproxy.Proxy).Reset),
		Blackhole: do((*faultproxy.Proxy).Blackhole),
		RefuseNew: do((*faultproxy.Proxy).RefuseNew),
		CutAnswer: do((*faultproxy.Proxy).CutAnswer),
		Heal:      do((*faultproxy.Proxy).Heal),
		Delay: func(ctx context.Context, d time.Duration) error {
			return do(func(p *faultproxy.Proxy) { p.Delay(d) })(ctx)
		},
		CutAfter: func(ctx context.Context, n int64) error {
			return do(func(p *faultproxy.Proxy) { p.CutAfter(n) })(ctx)
		},
	}
}
