// Package tlsurl makes the TLS configuration that the options of a transport URL
// ask for; their names are oslo.messaging's.
package tlsurl

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// Config is the configuration of a transport. What its files hold counts for the
// next connection, so they may be renewed while the process runs: those of a
// certificate, and of authorities. It is safe for concurrent use.
type Config struct {
	base    *tls.Config           // but for the following
	roots   func() *x509.CertPool // nil: those of base
	anyName bool                  // the name in the peer's certificate is not looked at
}

// Read returns the configuration for a scheme that ends with "+tls", from the
// application's, which may be nil, and the URL's ssl_ options; nil for another
// scheme, which may have none of them.
func Read(scheme string, base *tls.Config, r *messaging.OptionReader) (*Config, error) {
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

	c := &Config{base: &tls.Config{MinVersion: tls.VersionTLS12}, anyName: !verifyHost}
	if base != nil {
		c.base = base.Clone()
	}
	if err := c.readPair(files["ssl_cert_file"], files["ssl_key_file"]); err != nil {
		return nil, err
	}
	var err error
	c.roots, err = ReadAuthorities("ssl_ca_file", files["ssl_ca_file"])
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ReadAuthorities returns a func for the authorities in a file that an option
// names, as they are at the time; nil if it names none. The func is safe for
// concurrent use.
func ReadAuthorities(option, file string) (func() *x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pool := newPool(file)
	if _, err := pool.current(); err != nil {
		return nil, fmt.Errorf("%w: reading %s %q: %w", messaging.ErrInvalidURL, option, file, err)
	}
	return func() *x509.CertPool {
		now, _ := pool.current() // it was loaded once, so there is no error
		return now
	}, nil
}

// readPair has the configuration show a certificate, to clients and to servers.
func (c *Config) readPair(cert, key string) error {
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "":
		return fmt.Errorf("%w: ssl_key_file needs ssl_cert_file", messaging.ErrInvalidURL)
	case key == "":
		key = cert // both may be in one file
	}
	pair := newPair(cert, key)
	if _, err := pair.current(); err != nil {
		return fmt.Errorf("%w: reading ssl_cert_file and ssl_key_file: %w", messaging.ErrInvalidURL, err)
	}
	c.base.Certificates = nil // they would come first
	c.base.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current() }
	c.base.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.current() }
	return nil
}

// Current returns the configuration for one connection, without a name to verify
// unless the application gave one. It is the caller's.
func (c *Config) Current() *tls.Config {
	now := c.base.Clone()
	if c.roots != nil {
		now.RootCAs = c.roots()
	}
	if c.anyName {
		verifyChainOnly(now)
	}
	return now
}

// ForHost is Current with the name to verify.
func (c *Config) ForHost(host string) *tls.Config {
	now := c.Current()
	if now.ServerName == "" {
		now.ServerName = host
	}
	return now
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
