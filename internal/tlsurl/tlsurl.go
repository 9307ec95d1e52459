// Package tlsurl makes the TLS configuration that the options of a transport URL
// ask for; their names are oslo.messaging's.
package tlsurl

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// Read returns the configuration for a scheme that ends with "+tls", from the
// application's, which may be nil, and the URL's ssl_ options; nil for another
// scheme, which may have none of them. The certificate and its key may be renewed in
// their files: the next connection shows the new one.
func Read(scheme string, base *tls.Config, r *messaging.OptionReader) (*tls.Config, error) {
	files := map[string]string{}
	for _, name := range []string{"ssl_ca_file", "ssl_cert_file", "ssl_key_file"} {
		files[name] = r.String(name, "")
	}
	verifyHost := r.Bool("ssl_enforce_hostname_verification", true)
	if plain, secure := strings.CutSuffix(scheme, "+tls"); !secure {
		for name, value := range files {
			if value != "" {
				r.Reject(name, "needs the scheme "+plain+"+tls")
			}
		}
		return nil, nil
	}

	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		c = base.Clone()
	}
	if err := loadFiles(c, files["ssl_ca_file"], files["ssl_cert_file"], files["ssl_key_file"]); err != nil {
		return nil, err
	}
	if !verifyHost {
		verifyChainOnly(c)
	}
	return c, nil
}

func loadFiles(c *tls.Config, ca, cert, key string) error {
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("%w: reading ssl_ca_file: %w", messaging.ErrInvalidURL, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%w: ssl_ca_file %q holds no certificate", messaging.ErrInvalidURL, ca)
		}
	}
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "":
		return fmt.Errorf("%w: ssl_key_file needs ssl_cert_file", messaging.ErrInvalidURL)
	case key == "":
		key = cert // both may be in one file
	}
	p := &pair{certFile: cert, keyFile: key}
	if _, err := p.current(); err != nil {
		return fmt.Errorf("%w: reading ssl_cert_file and ssl_key_file: %w", messaging.ErrInvalidURL, err)
	}
	p.use(c)
	return nil
}

// verifyChainOnly makes c check who signed the peer's certificate and not what
// name is in it.
func verifyChainOnly(c *tls.Config) {
	c.InsecureSkipVerify = true //nolint:gosec // VerifyConnection does what is asked for instead
	roots, also := c.RootCAs, c.VerifyConnection
	c.VerifyConnection = func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, cert := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		if _, err := s.PeerCertificates[0].Verify(o); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		if also != nil {
			return also(s)
		}
		return nil
	}
}

// ForHost returns c with the name to verify.
func ForHost(c *tls.Config, host string) *tls.Config {
	c = c.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}
