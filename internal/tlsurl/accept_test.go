package tlsurl_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/internal/tlstest"
	"github.com/patchbay-go/patchbay/internal/tlsurl"
	"github.com/patchbay-go/patchbay/messaging"
)

// mustRead reads options of a URL whose scheme says TLS.
func mustRead(t *testing.T, base *tls.Config, options map[string]string) *tlsurl.Config {
	t.Helper()
	query := url.Values{}
	for name, value := range options {
		query.Set(name, value)
	}
	c, err := read(t, "x+tls://host/?"+query.Encode(), base)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWithoutTLS(t *testing.T) {
	for _, base := range []*tls.Config{nil, {ServerName: "ignored"}} {
		if c, err := read(t, "x://host/", base); c != nil || err != nil {
			t.Errorf("a scheme without TLS has the configuration %v, %v", c, err)
		}
	}
	for _, name := range []string{"ssl_ca_file", "ssl_cert_file", "ssl_key_file"} {
		_, err := read(t, "x://host/?"+name+"=file", nil)
		if !errors.Is(err, messaging.ErrInvalidURL) || !strings.Contains(err.Error(), "needs the scheme x+tls") {
			t.Errorf("%s without TLS: error %v", name, err)
		}
	}
}

// TestHandshake shows what a configuration accepts, and from whom.
func TestHandshake(t *testing.T) {
	ours, theirs := tlstest.New(t), tlstest.New(t)
	noName := map[string]string{"ssl_ca_file": ours.File, "ssl_enforce_hostname_verification": "false"}
	withName := map[string]string{"ssl_ca_file": ours.File}
	refusesAll := &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return errors.New("never") }}
	for _, tt := range []struct {
		name    string
		server  tls.Certificate
		options map[string]string
		base    *tls.Config
		refused bool
	}{
		{"as it should be", ours.Pair(t, "127.0.0.1"), withName, nil, false},
		{"another's name", ours.Pair(t, "elsewhere.example"), withName, nil, true},
		{"another's name, not verified", ours.Pair(t, "elsewhere.example"), noName, nil, false},
		{"signed by another", theirs.Pair(t, "127.0.0.1"), withName, nil, true},
		{"signed by another, name not verified", theirs.Pair(t, "127.0.0.1"), noName, nil, true},
		{"another's name that the application gives", ours.Pair(t, "elsewhere.example"), withName, &tls.Config{ServerName: "elsewhere.example"}, false},
		{"what the application refuses", ours.Pair(t, "127.0.0.1"), withName, refusesAll, true},
		{"what the application refuses, name not verified", ours.Pair(t, "127.0.0.1"), noName, refusesAll, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := accepts(t, &tls.Config{Certificates: []tls.Certificate{tt.server}, MinVersion: tls.VersionTLS12}, mustRead(t, tt.base, tt.options))
			if (err != nil) != tt.refused {
				t.Errorf("the client says %v", err)
			}
		})
	}
}

// accepts returns what the client says of a server at 127.0.0.1.
func accepts(t *testing.T, server *tls.Config, client *tlsurl.Config) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		secure := tls.Server(c, server)
		if secure.HandshakeContext(t.Context()) == nil {
			_, _ = io.Copy(secure, secure)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	secure := tls.Client(c, client.ForHost("127.0.0.1"))
	if err = secure.HandshakeContext(t.Context()); err == nil { // a server refuses a client after that
		if _, err = secure.Write([]byte("x")); err == nil {
			_, err = io.ReadFull(secure, make([]byte, 1))
		}
	}
	_ = c.Close()
	<-over
	return err
}
