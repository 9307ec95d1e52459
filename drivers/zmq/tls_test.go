package zmq_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-go/patchbay/internal/tlstest"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// TestTLS: a mesh has one URL but for its hosts, and each node's certificate is
// both a server's and a client's. Who cannot be linked to is told what to do.
func TestTLS(t *testing.T) {
	ca, stranger := tlstest.New(t), tlstest.New(t)
	addresses := freePorts(t, 2)
	address := addresses[0]
	mutual := "ssl_ca_file=" + ca.File + "&ssl_client_ca_file=" + ca.File
	mesh := fmt.Sprintf("zmq+tls://%s,%s/?%s&ssl_cert_file=%s", address, addresses[1], mutual, ca.Sign(t, "127.0.0.1"))
	first, second := open(t, mesh), open(t, mesh)
	serveEcho(t, first, "s")
	serveEcho(t, second, "s2")
	for _, tr := range []*messaging.Transport{first, second, open(t, mesh)} { // nodes that listen call, too
		await(t, tr, "work", 2)
		if who, err := whoami(t, tr); err != nil || who != "s" && who != "s2" {
			t.Errorf("a good client: %q, %v", who, err)
		}
	}

	_, port, _ := net.SplitHostPort(address)
	client := func(host, query string) string { return "zmq+tls://" + net.JoinHostPort(host, port) + "/?" + query }
	mine := "&ssl_cert_file=" + ca.Sign(t, "client")
	plain := freePorts(t, 1)[0]
	serveEcho(t, open(t, "zmq://"+plain+"/"), "s")
	for name, tt := range map[string]struct {
		url  string
		want error
		say  string
	}{
		"another authority":        {client("127.0.0.1", "ssl_ca_file="+stranger.File+mine), messaging.ErrPermanent, "ssl_ca_file must hold"},
		"the system's authorities": {client("127.0.0.1", strings.TrimPrefix(mine, "&")), messaging.ErrPermanent, "ssl_ca_file must hold"},
		"another host name":        {client("localhost", "ssl_ca_file="+ca.File+mine), messaging.ErrPermanent, "ssl_enforce_hostname_verification"},
		"no client certificate":    {client("127.0.0.1", "ssl_ca_file="+ca.File), messaging.ErrAuth, "ssl_cert_file"},
		"a stranger's certificate": {client("127.0.0.1", "ssl_ca_file="+ca.File+"&ssl_cert_file="+stranger.Sign(t, "client")), messaging.ErrAuth, "ssl_client_ca_file"},
		"a peer without TLS":       {"zmq+tls://" + plain + "/?ssl_ca_file=" + ca.File, messaging.ErrPermanent, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := open(t, tt.url).Connect(ctx)
			if !errors.Is(err, tt.want) || !errors.Is(err, messaging.ErrConnect) || !strings.Contains(fmt.Sprint(err), tt.say) {
				t.Errorf("%v, want %v and %q", err, tt.want, tt.say)
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) { // whoever hangs up without a word may be a proxy with nobody behind it
		if _, err := whoami(t, open(t, "zmq://"+address+"/")); !errors.Is(err, messaging.ErrNoRoute) || !strings.Contains(err.Error(), "wants TLS") {
			t.Errorf("%v, want %v, and why", err, messaging.ErrNoRoute)
		}
	})
	t.Run("the name may be left out", func(t *testing.T) {
		if _, err := whoami(t, open(t, client("localhost", "ssl_enforce_hostname_verification=false&ssl_ca_file="+ca.File+mine))); err != nil {
			t.Error(err)
		}
	})
	t.Run("a server without a certificate", func(t *testing.T) {
		tr := open(t, "zmq+tls://"+freePorts(t, 1)[0]+"/?ssl_ca_file="+ca.File)
		_, err := tr.Listen(within(t, limit), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}})
		if !errors.Is(err, messaging.ErrPermanent) || !strings.Contains(err.Error(), "ssl_cert_file") {
			t.Errorf("%v", err)
		}
	})
}

// TestOneBadNode: one node of a mesh that cannot be linked to is not the end of
// it, but who finds nobody is told of it.
func TestOneBadNode(t *testing.T) {
	ca := tlstest.New(t)
	addresses := freePorts(t, 2)
	url := func(name string) string {
		return fmt.Sprintf("zmq+tls://%s/?ssl_ca_file=%s&ssl_cert_file=%s", strings.Join(addresses, ","), ca.File, ca.Sign(t, name))
	}
	serveEcho(t, open(t, url("127.0.0.1")), "good")
	client := open(t, url("127.0.0.1"))
	bad := open(t, url("elsewhere.example"))
	if _, err := bad.Listen(within(t, limit), messaging.Subscription{Sources: []messaging.Address{targetOf("other")}, Prefetch: 1}); err != nil {
		t.Fatal(err)
	}
	if who, err := whoami(t, client); err != nil || who != "good" {
		t.Errorf("%q, %v", who, err)
	}
	until(t, "the reason to be told", func() bool {
		_, err := rpc.CallFor[string](within(t, limit), clientOf(client, "other"), "whoami", rpc.None{})
		return errors.Is(err, messaging.ErrNoRoute) && strings.Contains(err.Error(), addresses[1]) && strings.Contains(err.Error(), "ssl_enforce_hostname_verification")
	})
}

// TestStrangersWithoutTLS: a server's log says what is wrong with those who do
// not come in.
func TestStrangersWithoutTLS(t *testing.T) {
	ca := tlstest.New(t)
	good := "ssl_ca_file=" + ca.File + "&ssl_cert_file=" + ca.Sign(t, "127.0.0.1")
	for name, tt := range map[string]struct{ server, client, want string }{
		"no TLS":   {"zmq+tls://%s/?" + good, "zmq://%s/", "speaks no TLS"},
		"TLS":      {"zmq://%s/", "zmq+tls://%s/?" + good, "speaks TLS"},
		"no trust": {"zmq+tls://%s/?" + good, "zmq+tls://%s/?ssl_ca_file=" + tlstest.New(t).File, "does not accept our certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			log := &lines{}
			o := quiet()
			o.Logger = slog.New(slog.NewTextHandler(log, nil))
			address := freePorts(t, 1)[0]
			server, err := registry().Open(t.Context(), fmt.Sprintf(tt.server, address), o)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close(context.Background())
			serveEcho(t, server, "s")
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_ = open(t, fmt.Sprintf(tt.client, address)).Connect(ctx)
			until(t, "a line in the log with "+tt.want, func() bool { return log.has(tt.want) })
		})
	}
}

// TestRenewedAuthorities: who may link, and who is trusted, may change while all run.
func TestRenewedAuthorities(t *testing.T) {
	older, newer := tlstest.New(t), tlstest.New(t)
	both := filepath.Join(t.TempDir(), "ca.pem")
	trust := func(all ...*tlstest.Authority) {
		var pem []byte
		for _, a := range all {
			one, err := os.ReadFile(a.File)
			if err != nil {
				t.Fatal(err)
			}
			pem = append(pem, one...)
		}
		if err := os.WriteFile(both, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust(older)
	address := freePorts(t, 1)[0]
	url := func(a *tlstest.Authority) string {
		return fmt.Sprintf("zmq+tls://%s/?ssl_ca_file=%s&ssl_client_ca_file=%s&ssl_cert_file=%s", address, both, both, a.Sign(t, "127.0.0.1"))
	}
	serveEcho(t, open(t, url(older)), "s")
	if err := open(t, url(newer)).Connect(within(t, limit)); !errors.Is(err, messaging.ErrAuth) {
		t.Errorf("signed by the newer: %v, want %v", err, messaging.ErrAuth)
	}
	trust(older, newer)
	for name, a := range map[string]*tlstest.Authority{"older": older, "newer": newer} {
		if _, err := whoami(t, open(t, url(a))); err != nil {
			t.Errorf("signed by the %s, when both are trusted: %v", name, err)
		}
	}
}

// TestApplicationVerifies: what an application checks of its peers, such as which
// of its authority's names may come, it checks of both sides.
func TestApplicationVerifies(t *testing.T) {
	ca := tlstest.New(t)
	address := freePorts(t, 1)[0]
	url := func(name string) string {
		return fmt.Sprintf("zmq+tls://%s/?ssl_ca_file=%s&ssl_client_ca_file=%s&ssl_cert_file=%s&ssl_enforce_hostname_verification=false", address, ca.File, ca.File, ca.Sign(t, name))
	}
	o := quiet()
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS13, VerifyConnection: func(s tls.ConnectionState) error {
		if name := s.PeerCertificates[0].Subject.CommonName; name != "friend" {
			return fmt.Errorf("%s is not on the list", name)
		}
		return nil
	}}
	server, err := registry().Open(t.Context(), url("server"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(context.Background())
	serveEcho(t, server, "s")
	if _, err := whoami(t, open(t, url("friend"))); err != nil {
		t.Errorf("a friend: %v", err)
	}
	if err := open(t, url("other")).Connect(within(t, limit)); !errors.Is(err, messaging.ErrAuth) {
		t.Errorf("another: %v, want %v", err, messaging.ErrAuth)
	}
	client, err := registry().Open(t.Context(), url("friend"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(context.Background())
	if err := client.Connect(within(t, limit)); !errors.Is(err, messaging.ErrPermanent) || !strings.Contains(err.Error(), "server is not on the list") {
		t.Errorf("a server that is not on the client's list: %v", err)
	}
}

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	all []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, p...)
	return len(p), nil
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.all, []byte(text))
}
