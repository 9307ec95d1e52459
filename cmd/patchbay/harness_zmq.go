package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
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
func zmqOwn() []string { return []string{"bind", "advertise", "ports", "discovery"} }

// zmqHarness is for the driver without a broker: the suite's transports are the
// nodes. Each binds one of the URL's hosts, and dials the proxies before them. Where
// the URL has no password they get one, so that a wrong one can be shown.
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
	_, query, _ := strings.Cut(rawURL, "?")
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
	h := conformance.FromURL(a.registry, build(hosts...), opts)
	h.Broker = "none"
	h.Fault = conformance.LinkFaults(proxies...)
	h.Silence = 2 * patience
	h.Unreachable = build(mute.Addr().String())
	password, _ := user.Password()
	h.Strangers = zmqStrangers(bind, user.Username(), password)
	if u.Scheme != "zmq" { // the rest needs TLS first
		h.Strangers = conformance.Strangers{Endpoints: bind}
	}
	return h, closeAll, nil
}

// zmqEndpoints returns the hosts of a URL, or free ports of this machine, and a
// function that gives these up.
func zmqEndpoints(ctx context.Context, u *messaging.URL) ([]string, func(), error) {
	if len(u.Hosts) == 0 {
		return freeport.Reserve(ctx, zmqNodes)
	}
	var all []string
	for _, h := range u.Hosts {
		all = append(all, net.JoinHostPort(cmp.Or(h.Hostname, "127.0.0.1"), strconv.Itoa(cmp.Or(h.Port, zmqPort))))
	}
	return all, func() {}, nil
}

// zmqPort is the driver's default.
const zmqPort = 9501
