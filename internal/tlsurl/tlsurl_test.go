package tlsurl_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/tlstest"
	"github.com/patchbay-go/patchbay/internal/tlsurl"
	"github.com/patchbay-go/patchbay/messaging"
)

func read(t *testing.T, rawURL string, base *tls.Config) (*tlsurl.Config, error) {
	t.Helper()
	u, err := messaging.ParseURL(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	r := u.Options()
	c, err := tlsurl.Read(u.Scheme, base, r)
	return c, errors.Join(r.Err(), err)
}

func TestMistakes(t *testing.T) {
	ca := tlstest.New(t)
	pair, other := ca.Sign(t, "a"), ca.Sign(t, "b")
	for url, want := range map[string]string{
		"x://h/?ssl_ca_file=" + ca.File:                                    "needs the scheme x+tls",
		"x+tls://h/?ssl_ca_file=/nowhere/ca.pem":                           "ssl_ca_file",
		"x+tls://h/?ssl_ca_file=tlsurl_test.go":                            "holds no certificate",
		"x+tls://h/?ssl_cert_file=/nowhere/c.pem":                          "ssl_cert_file",
		"x+tls://h/?ssl_key_file=" + pair:                                  "ssl_key_file needs ssl_cert_file",
		"x+tls://h/?ssl_cert_file=" + pair + "&ssl_key_file=" + other:      "does not match",
		"x+tls://h/?ssl_enforce_hostname_verification=perhaps":             "ssl_enforce_hostname_verification",
		"x+tls://h/?ssl_cert_file=" + ca.File + "&ssl_key_file=" + ca.File: "ssl_key_file",
	} {
		if _, err := read(t, url, nil); !errors.Is(err, messaging.ErrInvalidURL) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	if c, err := read(t, "x://h/", &tls.Config{ServerName: "h"}); c != nil || err != nil { //nolint:gosec // not used
		t.Errorf("without TLS: %v, %v", c, err)
	}
}

// handshake returns the certificates that the two sides showed each other.
func handshake(t *testing.T, client, server *tls.Config) (ofServer, ofClient string, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	far := tls.Server(b, server)
	done := make(chan error, 1)
	go func() {
		defer b.Close()
		err := far.HandshakeContext(ctx)
		if err == nil {
			_, err = far.Write([]byte{1})
		}
		done <- err
	}()
	near := tls.Client(a, client)
	err = near.HandshakeContext(ctx)
	if err == nil {
		_, err = near.Read([]byte{0}) // so that what comes behind the handshake is taken in
	}
	a.Close()
	if err := errors.Join(err, <-done); err != nil {
		return "", "", err
	}
	name := func(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].Subject.CommonName }
	return name(near), name(far), nil
}

// TestRenewal: certificates are short-lived, and processes are not. What is in
// the files counts for the next connection; what cannot be read does not.
func TestRenewal(t *testing.T) {
	ca := tlstest.New(t)
	file := ca.Sign(t, "first")
	c, err := read(t, "x+tls://h/?ssl_enforce_hostname_verification=false&ssl_ca_file="+ca.File+"&ssl_cert_file="+file, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := c.Current()
	server.ClientAuth, server.ClientCAs, server.VerifyConnection = tls.RequireAndVerifyClientCert, server.RootCAs, nil
	for i, want := range []string{"first", "second", "second"} {
		switch i {
		case 1:
			ca.SignTo(t, file, want)
		case 2: // somebody is writing it just now
			if err := os.WriteFile(file, []byte("-----BEGIN CERT"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		written(t, file, i)
		s, cl, err := handshake(t, c.Current(), server)
		if err != nil || s != want || cl != want {
			t.Errorf("step %d: the server showed %q, the client %q, %v; want %q", i, s, cl, err, want)
		}
	}
}

// written makes a file newer than before, however coarse the file system's clock is.
func written(t *testing.T, file string, step int) {
	t.Helper()
	later := time.Now().Add(time.Duration(step) * time.Minute)
	if err := os.Chtimes(file, later, later); err != nil {
		t.Fatal(err)
	}
}

// TestRenewedAuthorities: who is trusted may change while the process runs, too: first both,
// then the new one. What cannot be read changes nothing.
func TestRenewedAuthorities(t *testing.T) {
	for _, query := range []string{"", "&ssl_enforce_hostname_verification=false"} {
		older, newer := tlstest.New(t), tlstest.New(t)
		file := filepath.Join(t.TempDir(), "ca.pem")
		write := func(step int, authorities ...*tlstest.Authority) {
			var all []byte
			for _, a := range authorities {
				pem, err := os.ReadFile(a.File)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, pem...)
			}
			if err := os.WriteFile(file, all, 0o600); err != nil {
				t.Fatal(err)
			}
			written(t, file, step)
		}
		write(0, older)
		c, err := read(t, "x+tls://h/?ssl_ca_file="+file+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		trusts := func(a *tlstest.Authority) bool {
			server := &tls.Config{Certificates: []tls.Certificate{a.Pair(t, "127.0.0.1")}, MinVersion: tls.VersionTLS12}
			return accepts(t, server, c) == nil
		}
		for step, tt := range []struct {
			file           []*tlstest.Authority
			oldest, newest bool
		}{
			{[]*tlstest.Authority{older}, true, false},
			{[]*tlstest.Authority{older, newer}, true, true},
			{nil, true, true}, // as it is while somebody writes
			{[]*tlstest.Authority{newer}, false, true},
		} {
			write(step, tt.file...)
			if o, n := trusts(older), trusts(newer); o != tt.oldest || n != tt.newest {
				t.Errorf("step %d: the older is trusted: %v, the newer: %v", step, o, n)
			}
		}
		if err := os.Remove(file); err != nil || trusts(older) || !trusts(newer) {
			t.Errorf("without the file others are trusted than before, %v", err)
		}
	}
}

// TestBase: the URL adds to what the application gave, and changes none of it.
func TestBase(t *testing.T) {
	ca, other := tlstest.New(t), tlstest.New(t)
	base := &tls.Config{Certificates: []tls.Certificate{other.Pair(t, "old")}, ServerName: "h", MinVersion: tls.VersionTLS13}
	c, err := read(t, "x+tls://elsewhere/?ssl_ca_file="+ca.File+"&ssl_cert_file="+ca.Sign(t, "h"), base)
	if err != nil {
		t.Fatal(err)
	}
	server := c.Current()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, server.RootCAs
	if s, cl, err := handshake(t, c.ForHost("elsewhere"), server); err != nil || s != "h" || cl != "h" {
		t.Errorf("%q, %q, %v", s, cl, err)
	}
	if len(base.Certificates) != 1 || base.GetCertificate != nil || base.RootCAs != nil || c.Current().MinVersion != tls.VersionTLS13 {
		t.Errorf("the application's configuration was changed, or is not there any more")
	}
}
