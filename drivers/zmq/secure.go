package zmq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/internal/tlsurl"
	"github.com/patchbay-go/patchbay/messaging"
)

// secure is how a driver protects its links: TLS beneath ZMTP, PLAIN inside it.
type secure struct {
	tls      *tlsurl.Config        // nil: none
	clients  func() *x509.CertPool // who signs the certificates that dialling peers must show; nil: none is asked for
	insecure bool                  // neither is needed, wherever the peer is

	verify func(tls.ConnectionState) error // of the application, of both sides; may be nil
}

// readSecure reads the URL's TLS options.
func readSecure(u *messaging.URL, base *tls.Config, r *messaging.OptionReader, insecure bool) (*secure, error) {
	s := &secure{insecure: insecure}
	c, err := tlsurl.Read(u.Scheme, base, r)
	ca := r.String("ssl_client_ca_file", "")
	if err != nil {
		return s, err
	}
	s.tls = c
	if base != nil {
		s.verify = base.VerifyConnection
	}
	switch {
	case ca == "" && c != nil && base != nil && base.ClientCAs != nil:
		s.clients = func() *x509.CertPool { return base.ClientCAs }
	case ca != "" && c == nil:
		r.Reject("ssl_client_ca_file", "needs the scheme "+schemeTLS)
	default:
		s.clients, err = tlsurl.ReadAuthorities("ssl_client_ca_file", ca)
	}
	return s, err
}

// client returns the TLS configuration for dialling a host, or nil.
func (s *secure) client(host string) *tls.Config {
	if s.tls == nil {
		return nil
	}
	return s.tls.ForHost(host)
}

// server returns the TLS configuration of the accepting side, or nil.
func (s *secure) server() (*tls.Config, error) {
	if s.tls == nil {
		return nil, nil
	}
	c := s.tls.Current()
	if len(c.Certificates) == 0 && c.GetCertificate == nil {
		return nil, fmt.Errorf("%w: a server of %s needs a certificate: ssl_cert_file and ssl_key_file", messaging.ErrPermanent, schemeTLS)
	}
	c.ServerName = ""
	c.VerifyConnection = nil // is about servers
	if s.clients != nil {
		c.ClientCAs, c.ClientAuth, c.VerifyConnection = s.clients(), tls.RequireAndVerifyClientCert, s.verify
		if c.GetConfigForClient == nil {
			each := c.Clone()
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				now := each.Clone()
				now.ClientCAs = s.clients() // they may have been renewed
				return now, nil
			}
		}
	}
	return c, nil
}

// errInsecure: neither TLS nor a password, and the network is not this machine.
var errInsecure = errors.New("neither a password nor TLS protects it: give a user and a password in the URL, use " + schemeTLS +
	", or say insecure=true where everybody on the network may send anything")

// checkBind refuses to listen where strangers are, unless peers must prove who
// they are.
func (s *secure) checkBind(a net.Addr, password bool) error {
	if s.insecure || password || s.clients != nil || link.IsLoopback(a) {
		return nil
	}
	return fmt.Errorf("%w: listening on %s: %w", messaging.ErrPermanent, a, errInsecure)
}

// checkDial refuses to talk to a peer elsewhere that need not prove who it is.
func (s *secure) checkDial(a net.Addr, password bool) error {
	if s.insecure || password || s.tls != nil || link.IsLoopback(a) {
		return nil
	}
	return fmt.Errorf("%w: dialling %s: %w", messaging.ErrPermanent, a, errInsecure)
}

// checkHosts finds in a URL what checkBind and checkDial would refuse later.
func (s *secure) checkHosts(r *messaging.OptionReader, password bool, hosts []messaging.HostPort) {
	if s.insecure || password || s.tls != nil {
		return
	}
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h.Host); err == nil && !a.IsLoopback() {
			r.Reject("insecure", "must be true for "+h.String()+": "+errInsecure.Error())
			return
		}
	}
}

// rotating asks an application's func for credentials, but not for every
// stranger who knocks: what it said counts for a second.
type rotating struct {
	ask func(context.Context) (messaging.Credentials, error)

	mu    sync.Mutex // guards the following, and that there is one question at a time
	last  messaging.Credentials
	asked time.Time
}

const rotateTime = time.Second

// fresh asks, for a link that we open.
func (c *rotating) fresh(ctx context.Context) (link.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renew(ctx)
}

// recent is for links that others open.
func (c *rotating) recent(ctx context.Context) (link.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < rotateTime {
		return link.Credentials(c.last), nil
	}
	return c.renew(ctx)
}

func (c *rotating) renew(ctx context.Context) (link.Credentials, error) {
	now, err := c.ask(ctx)
	if err != nil {
		return link.Credentials{}, err
	}
	c.last, c.asked = now, time.Now()
	return link.Credentials(now), nil
}
