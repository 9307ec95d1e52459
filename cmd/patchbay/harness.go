package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/conformance/fakeharness"
	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/messaging"
)

// heartbeat is what a broker and we tell each other at least every so many
// seconds, unless the URL says otherwise: so a black hole is noticed soon.
const heartbeat = 2

// heartbeatOf returns a driver's option for it, and after how many of them that
// were missed a link is lost.
func heartbeatOf(scheme string) (option string, missed int) {
	if scheme == "amqp1" {
		return "idle_timeout", 1
	}
	return "heartbeat_timeout_threshold", 3
}

// harness returns what the suite needs to test a URL, with all the faults that
// can be made from here. Its closer ends the proxies.
func (a *app) harness(ctx context.Context, rawURL string) (conformance.Harness, func() error, error) {
	none := func() error { return nil }
	opts := &messaging.Options{Logger: a.logger(quiet)}
	u, err := messaging.ParseURL(rawURL)
	if err != nil {
		return conformance.Harness{}, none, err
	}
	switch u.Scheme {
	case "fake":
		if u.VirtualHost == "" {
			_, query, _ := strings.Cut(rawURL, "?")
			return fakeharness.New(fakeharness.Options{Query: query, Transport: opts}), none, nil
		}
	case "rabbit", "kombu", "amqp1": // not with TLS: a proxy has another name than the certificate
		if err := a.reach(ctx, rawURL); err != nil {
			return conformance.Harness{}, none, err
		}
		return a.proxiedHarness(ctx, u, rawURL, opts)
	case "zmq", "zmq+tls":
		if !slices.ContainsFunc(u.Query, func(o messaging.QueryOption) bool { return slices.Contains(zmqOwn(), o.Name) }) {
			return a.zmqHarness(ctx, u, rawURL, opts)
		}
		h := conformance.FromURL(a.registry, rawURL, opts)
		h.Unreachable = "" // a host where nobody is yet is no error
		return h, none, nil
	}
	return conformance.FromURL(a.registry, rawURL, opts), none, nil
}

// reach connects to the hosts themselves: the error of one that is not there
// names it, and not the proxy before it.
func (a *app) reach(ctx context.Context, rawURL string) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	return a.withTransport(ctx, a.byURL(rawURL), quiet, func(t *messaging.Transport) error { return t.Connect(ctx) })
}

// proxiedHarness puts a proxy before each host of a broker.
func (a *app) proxiedHarness(ctx context.Context, u *messaging.URL, rawURL string, opts *messaging.Options) (conformance.Harness, func() error, error) {
	silence, rawURL := withHeartbeat(u, rawURL)
	hosts := u.Hosts
	if len(hosts) == 0 {
		hosts = []messaging.Host{{}}
	}
	var proxies []*faultproxy.Proxy
	closeAll := func() error {
		var err error
		for _, p := range proxies {
			err = errors.Join(err, p.Close())
		}
		return err
	}
	to := map[messaging.HostPort]messaging.HostPort{}
	for _, h := range hosts {
		p, err := faultproxy.Listen(ctx, net.JoinHostPort(cmp.Or(h.Hostname, "localhost"), strconv.Itoa(cmp.Or(h.Port, 5672))))
		if err != nil {
			return conformance.Harness{}, closeAll, errors.Join(err, closeAll())
		}
		proxies = append(proxies, p)
		host, port, _ := net.SplitHostPort(p.Addr())
		n, _ := strconv.Atoi(port) // the proxy's own address
		to[h.HostPort()] = messaging.HostPort{Host: host, Port: n}
	}
	open := a.registry[u.Scheme]
	h := conformance.FromURL(messaging.Registry{
		u.Scheme: func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
			d, codecs, err := open(u, o)
			if err != nil {
				return nil, nil, err
			}
			return &proxied{Driver: d, to: to}, codecs, nil
		},
	}, rawURL, opts)
	h.Fault = conformance.LinkFaults(proxies...)
	h.Silence = silence
	return h, closeAll, nil
}

// withHeartbeat adds a short heartbeat to a URL without one. It returns how long
// a transport takes to notice that its peer is silent, or 0 if that is too long
// to wait for.
func withHeartbeat(u *messaging.URL, rawURL string) (time.Duration, string) {
	option, missed := heartbeatOf(u.Scheme)
	for _, o := range u.Query {
		if o.Name == option {
			return 0, rawURL
		}
	}
	separator := "?"
	if strings.Contains(rawURL, "?") {
		separator = "&"
	}
	return time.Duration(missed*heartbeat) * time.Second, fmt.Sprintf("%s%s%s=%d", rawURL, separator, option, heartbeat)
}

// proxied is a driver that dials proxies instead of the hosts behind them.
type proxied struct {
	messaging.Driver
	to map[messaging.HostPort]messaging.HostPort
}

func (p *proxied) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	if proxy, ok := p.to[ep.Host]; ok {
		ep.Host = proxy
	}
	return p.Driver.Dial(ctx, ep)
}
