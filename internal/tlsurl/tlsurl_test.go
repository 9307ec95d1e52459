package tlsurl_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/internal/tlstest"
	"github.com/patchbay-go/patchbay/internal/tlsurl"
	"github.com/patchbay-go/patchbay/messaging"
)

// read reads the options of a URL with that scheme.
func read(t *testing.T, scheme string, base *tls.Config, options map[string]string) (*tls.Config, error) {
	t.Helper()
	query := url.Values{}
	for name, value := range options {
		query.Set(name, value)
	}
	u, err := messaging.ParseURL(scheme + "://host/?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	r := u.Options()
	c, err := tlsurl.Read(scheme, base, r)
	return c, errors.Join(r.Err(), err)
}

func mustRead(t *testing.T, base *tls.Config, options map[string]string) *tls.Config {
	t.Helper()
	c, err := read(t, "x+tls", base, options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWithoutTLS(t *testing.T) {
	for _, base := range []*tls.Config{nil, {ServerName: "ignored"}} {
		if c, err := read(t, "x", base, nil); c != nil || err != nil {
			t.Errorf("a scheme without TLS has the configuration %v, %v", c, err)
		}
	}
	for _, name := range []string{"ssl_ca_file", "ssl_cert_file", "ssl_key_file"} {
		_, err := read(t, "x", nil, map[string]string{name: "file"})
		if !errors.Is(err, messaging.ErrInvalidURL) || !strings.Contains(err.Error(), "needs the scheme x+tls") {
			t.Errorf("%s without TLS: error %v", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	authority := tlstest.NewAuthority(t)
	cert, _ := authority.SignFiles(t, "client")
	_, otherKey := authority.SignFiles(t, "another")
	for name, tt := range map[string]struct {
		options map[string]string
		says    string
	}{
		"no such authority":    {map[string]string{"ssl_ca_file": "testdata/absent.pem"}, "ssl_ca_file"},
		"an empty authority":   {map[string]string{"ssl_ca_file": empty}, "holds no certificate"},
		"no such certificate":  {map[string]string{"ssl_cert_file": "testdata/absent.pem"}, "ssl_cert_file"},
		"a key of another":     {map[string]string{"ssl_cert_file": cert, "ssl_key_file": otherKey}, "ssl_key_file"},
		"a key, and nothing":   {map[string]string{"ssl_key_file": otherKey}, "ssl_cert_file"},
		"verification: what":   {map[string]string{"ssl_enforce_hostname_verification": "perhaps"}, "ssl_enforce_hostname_verification"},
		"a certificate alone":  {map[string]string{"ssl_cert_file": cert}, "ssl_key_file"},
		"an unreadable choice": {map[string]string{"ssl_ca_file": t.TempDir()}, "ssl_ca_file"},
	} {
		_, err := read(t, "x+tls", nil, tt.options)
		if !errors.Is(err, messaging.ErrInvalidURL) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, tt.says)
		}
	}
}

// TestHandshake shows what a configuration accepts, and from whom.
func TestHandshake(t *testing.T) {
	ours, theirs := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
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
		{"as it should be", ours.Sign(t, "127.0.0.1"), withName, nil, false},
		{"another's name", ours.Sign(t, "elsewhere.example"), withName, nil, true},
		{"another's name, not verified", ours.Sign(t, "elsewhere.example"), noName, nil, false},
		{"signed by another", theirs.Sign(t, "127.0.0.1"), withName, nil, true},
		{"signed by another, name not verified", theirs.Sign(t, "127.0.0.1"), noName, nil, true},
		{"another's name that the application gives", ours.Sign(t, "elsewhere.example"), withName, &tls.Config{ServerName: "elsewhere.example"}, false},
		{"what the application refuses", ours.Sign(t, "127.0.0.1"), withName, refusesAll, true},
		{"what the application refuses, name not verified", ours.Sign(t, "127.0.0.1"), noName, refusesAll, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := handshake(t, &tls.Config{Certificates: []tls.Certificate{tt.server}, MinVersion: tls.VersionTLS12}, mustRead(t, tt.base, tt.options))
			if (err != nil) != tt.refused {
				t.Errorf("the client says %v", err)
			}
		})
	}
}

// handshake returns what the client says of a server at 127.0.0.1.
func handshake(t *testing.T, server, client *tls.Config) error {
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
	secure := tls.Client(c, tlsurl.ForHost(client, "127.0.0.1"))
	if err = secure.HandshakeContext(t.Context()); err == nil { // a server refuses a client after that
		if _, err = secure.Write([]byte("x")); err == nil {
			_, err = io.ReadFull(secure, make([]byte, 1))
		}
	}
	_ = c.Close()
	<-over
	return err
}

// TestClientCertificate is shown, from two files and from one.
func TestClientCertificate(t *testing.T) {
	authority := tlstest.NewAuthority(t)
	cert, key := authority.SignFiles(t, "client")
	both := filepath.Join(t.TempDir(), "both.pem")
	var content []byte
	for _, name := range []string{cert, key} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, b...)
	}
	if err := os.WriteFile(both, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]map[string]string{
		"two files": {"ssl_ca_file": authority.File, "ssl_cert_file": cert, "ssl_key_file": key},
		"one file":  {"ssl_ca_file": authority.File, "ssl_cert_file": both},
	} {
		shown := ""
		server := &tls.Config{
			Certificates: []tls.Certificate{authority.Sign(t, "127.0.0.1")}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
			VerifyConnection: func(s tls.ConnectionState) error {
				shown = s.PeerCertificates[0].Subject.CommonName
				return nil
			},
		}
		if err := handshake(t, server, mustRead(t, nil, options)); err != nil || shown != "client" {
			t.Errorf("%s: the server saw %q, %v", name, shown, err)
		}
	}
}

// TestBaseIsKept: the application's configuration is a beginning, and its own.
func TestBaseIsKept(t *testing.T) {
	authority := tlstest.NewAuthority(t)
	base := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"amqp"}}
	c := mustRead(t, base, map[string]string{"ssl_ca_file": authority.File, "ssl_enforce_hostname_verification": "no"})
	if c.MinVersion != tls.VersionTLS13 || len(c.NextProtos) != 1 {
		t.Errorf("of the application's configuration is left %+v", c)
	}
	if base.RootCAs != nil || base.InsecureSkipVerify || base.VerifyConnection != nil {
		t.Error("the application's configuration was changed")
	}
	if c := mustRead(t, nil, nil); c.MinVersion != tls.VersionTLS12 || c.RootCAs != nil || c.InsecureSkipVerify {
		t.Errorf("without anything it is %+v", c)
	}
	named := tlsurl.ForHost(c, "host")
	if named.ServerName != "host" || c.ServerName != "" {
		t.Errorf("the name to verify is %q, and in the shared configuration %q", named.ServerName, c.ServerName)
	}
}
