package amqp1_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// authority signs certificates of servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign returns a certificate for a DNS name or an IP address.
func (a *authority) sign(t *testing.T, name string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// front returns the address of a server that speaks TLS in front of a broker.
func front(t *testing.T, behind string, cert tls.Certificate) string {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	return server(t, func(c net.Conn) {
		secure := tls.Server(c, config)
		if secure.HandshakeContext(t.Context()) != nil {
			return // the client does not like us
		}
		plain, err := net.Dial("tcp", behind)
		if err != nil {
			t.Error(err)
			return
		}
		var wg sync.WaitGroup
		for _, pair := range [][2]net.Conn{{secure, plain}, {plain, secure}} {
			wg.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				pair[0].Close()
			})
		}
		wg.Wait()
	})
}

func TestTLS(t *testing.T) {
	b := newArtemis(t)
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := newAuthority(t), newAuthority(t)
	const noName = "&ssl_enforce_hostname_verification=false"
	for _, tt := range []struct {
		name    string
		cert    tls.Certificate
		options string
		refused bool
	}{
		{"as it should be", ours.sign(t, "127.0.0.1"), "", false},
		{"another's name", ours.sign(t, "elsewhere.example"), "", true},
		{"another's name, not verified", ours.sign(t, "elsewhere.example"), noName, false},
		{"signed by another", theirs.sign(t, "127.0.0.1"), "", true},
		{"signed by another, name not verified", theirs.sign(t, "127.0.0.1"), noName, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			there := *u
			there.Scheme, there.Host = "amqp1+tls", front(t, u.Host, tt.cert)
			c, err := dialURL(t, there.String()+"?ssl_ca_file="+ours.file+tt.options, limit)
			if tt.refused {
				wantErr(t, err, messaging.ErrConnect, messaging.ErrPermanent)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			a := topic()
			l := listen(t, c, sources(a))
			mustSend(t, c, a, body("x"))
			settle(t, poll(t, l), messaging.Ack)
		})
	}
}
