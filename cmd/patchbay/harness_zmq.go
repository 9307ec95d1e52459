package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/internal/freeport"
	"github.com/patchbay-go/patchbay/messaging"
)

// zmqNodes is how many endpoints the suite gets when the URL names none: as many
// servers as one case may have at a time, and some more.
const zmqNodes = 16

// zmqOwn are the options with which a URL says itself where nodes are: then no
// proxies can be put before them.
func zmqOwn() []string { return []string{"bind", "advertise", "discovery"} }

// zmqHarness is for the driver without a broker: the suite's transports are the
// nodes. Each binds one of the URL's hosts, and dials the proxies before them. Where
// the URL has no password they get one, so that a wrong one can be shown. A certificate
// is verified for the name that the URL has, since the proxies have none.
func (a *app) zmqHarness(ctx context.Context, u *messaging.URL, rawURL string, opts *messaging.Options) (conformance.Harness, func() error, error) {
	var closers []func() error
	closeAll := func() error {
		var err error
		for _, f := range closers {
			err = errors.Join(err, f())
		}
		return err
	}
	failed := func(err error) (conformance.Harness, func() error, error) {
		return conformance.Harness{}, func() error { return nil }, errors.Join(err, closeAll())
	}
	bind, release, err := zmqEndpoints(ctx, u)
	if err != nil {
		return failed(err)
	}
	closers = append(closers, func() error { release(); return nil })
	var hosts []string
	var proxies []*faultproxy.Proxy
	for _, address := range bind {
		p, err := faultproxy.Listen(ctx, address)
		if err != nil {
			return failed(err)
		}
		closers = append(closers, p.Close)
		proxies = append(proxies, p)
		hosts = append(hosts, p.Addr())
	}
	mute, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return failed(fmt.Errorf("making a host that does not answer: %w", err))
	}
	closers = append(closers, mute.Close)

	user := url.UserPassword("conformance", rand.Text())
	if len(u.Hosts) > 0 && u.Hosts[0].HasPassword {
		user = url.UserPassword(u.Hosts[0].Username, u.Hosts[0].Password)
	}
	query := zmqQuery(rawURL)
	const interval, patience = 500 * time.Millisecond, 2 * time.Second
	if !strings.Contains(query, "heartbeat_") {
		query = strings.Trim(query+fmt.Sprintf("&heartbeat_interval=%v&heartbeat_timeout=%v", interval.Seconds(), patience.Seconds()), "&")
	}
	build := func(hosts ...string) string {
		var all []string
		for _, h := range hosts {
			all = append(all, user.String()+"@"+h)
		}
		return u.Scheme + "://" + strings.Join(all, ",") + "/?bind=" + strings.Join(bind, ",") + "&" + query
	}
	password, _ := user.Password()
	strangers := zmqStrangers(bind, user.Username(), password)
	if u.Scheme == "zmq+tls" {
		host, _, _ := net.SplitHostPort(bind[0])
		opts.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
		strangers.Secure = zmqSecure(u)
	}
	h := conformance.FromURL(a.registry, build(hosts...), opts)
	h.Broker = "none"
	h.Fault = conformance.LinkFaults(proxies...)
	h.Silence = 2 * patience
	h.Unreachable = build(mute.Addr().String())
	h.Strangers = strangers
	return h, closeAll, nil
}

// zmqEndpoints returns the hosts of a URL, each as often as it has ports, or free
// ports of this machine, and a function that gives these up.
func zmqEndpoints(ctx context.Context, u *messaging.URL) ([]string, func(), error) {
	if len(u.Hosts) == 0 {
		return freeport.Reserve(ctx, zmqNodes)
	}
	r := u.Options()
	ports := r.Int("ports", 1)
	var all []string
	for _, h := range u.Hosts {
		for i := range min(ports, zmqMost) {
			all = append(all, net.JoinHostPort(cmp.Or(h.Hostname, "127.0.0.1"), strconv.Itoa(cmp.Or(h.Port, zmqPort)+i)))
		}
	}
	if len(all) == 0 || len(all) > zmqMost {
		return nil, nil, usagef("the URL stands for %d endpoints, want 1 to %d", len(u.Hosts)*ports, zmqMost)
	}
	return all, func() {}, nil
}

// zmqMost bounds the proxies.
const zmqMost = 256

// zmqQuery returns the options of a URL but for the ports, which are in its hosts.
func zmqQuery(rawURL string) string {
	_, query, _ := strings.Cut(rawURL, "?")
	options := strings.Split(query, "&")
	return strings.Join(slices.DeleteFunc(options, func(o string) bool { return strings.HasPrefix(o, "ports=") }), "&")
}

// zmqSecure returns how a stranger speaks TLS: with the certificate of everybody,
// and anybody.
func zmqSecure(u *messaging.URL) func(context.Context, net.Conn) (net.Conn, error) {
	files := map[string]string{}
	for _, o := range u.Query {
		files[o.Name] = o.Value
	}
	return func(ctx context.Context, nc net.Conn) (net.Conn, error) {
		c := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // it is the stranger
		if cert := files["ssl_cert_file"]; cert != "" {
			pair, err := tls.LoadX509KeyPair(cert, cmp.Or(files["ssl_key_file"], cert))
			if err != nil {
				return nil, err
			}
			c.Certificates = []tls.Certificate{pair}
		}
		secure := tls.Client(nc, c)
		return secure, secure.HandshakeContext(ctx)
	}
}

// zmqPort is the driver's default.
const zmqPort = 9501
