package tlsurl

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// pair is a certificate and its key in files that may be renewed while the process
// runs. It is safe for concurrent use.
type pair struct {
	certFile, keyFile string

	mu     sync.Mutex // protects the following
	loaded *tls.Certificate
	of     [2]time.Time // when the files that it was loaded from were written
}

// use makes c show the pair, to clients and to servers.
func (p *pair) use(c *tls.Config) {
	c.Certificates = nil // they would come first
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current() }
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.current() }
}

// current returns what is in the files. If that cannot be read, because it is
// just being written or is wrong, it returns what was in them before.
func (p *pair) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := [2]time.Time{writtenAt(p.certFile), writtenAt(p.keyFile)}
	if p.loaded != nil && written == p.of {
		return p.loaded, nil
	}
	now, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	switch {
	case err == nil:
		p.loaded, p.of = &now, written
	case p.loaded == nil:
		return nil, err
	}
	return p.loaded, nil
}

// writtenAt is zero if the file cannot be found.
func writtenAt(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
