// Package tlstest makes certificates, and servers that show them, for tests.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates. File holds its own, in PEM.
type Authority struct {
	File string

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New returns an authority that nobody trusts yet.
func New(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{File: filepath.Join(tb.TempDir(), "ca.pem"), key: newKey(tb)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := create(tb, template, template, a.key, a.key)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	write(tb, a.File, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// Sign returns a new file that holds a certificate for a DNS name or an IP
// address, and its key. It is good for servers and for clients.
func (a *Authority) Sign(tb testing.TB, name string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "pair.pem")
	a.SignTo(tb, file, name)
	return file
}

// SignTo is Sign into a file that may be there.
func (a *Authority) SignTo(tb testing.TB, file, name string) {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	key := newKey(tb)
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, file, &pem.Block{Type: "CERTIFICATE", Bytes: create(tb, template, a.cert, key, a.key)}, &pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
}

// Pair is Sign for who wants no file.
func (a *Authority) Pair(tb testing.TB, name string) tls.Certificate {
	tb.Helper()
	file := a.Sign(tb, name)
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		tb.Fatal(err)
	}
	return pair
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func create(tb testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func write(tb testing.TB, file string, blocks ...*pem.Block) {
	tb.Helper()
	var all []byte
	for _, b := range blocks {
		all = append(all, pem.EncodeToMemory(b)...)
	}
	if err := os.WriteFile(file, all, 0o600); err != nil {
		tb.Fatal(err)
	}
}
