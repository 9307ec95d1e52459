package tlsurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"sync"
	"time"
)

// renewed is what is in files that may be written anew while the process runs. It is
// safe for concurrent use.
type renewed[T any] struct {
	files []string
	load  func() (*T, error)

	mu     sync.Mutex // protects the following
	loaded *T
	of     []version // of the files that it was loaded from
}

// version tells what is in a file from what was before.
type version struct {
	written time.Time
	size    int64
}

// current returns what is in the files. If that cannot be read, because it is
// just being written or is wrong, it returns what was in them before.
func (r *renewed[T]) current() (*T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := make([]version, len(r.files))
	for i, file := range r.files {
		if info, err := os.Stat(file); err == nil {
			now[i] = version{info.ModTime(), info.Size()}
		}
	}
	if r.loaded != nil && slices.Equal(now, r.of) {
		return r.loaded, nil
	}
	loaded, err := r.load()
	switch {
	case err == nil:
		r.loaded, r.of = loaded, now
	case r.loaded == nil:
		return nil, err
	}
	return r.loaded, nil
}

// newPair returns a certificate and its key.
func newPair(certFile, keyFile string) *renewed[tls.Certificate] {
	return &renewed[tls.Certificate]{files: []string{certFile, keyFile}, load: func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		return &pair, err
	}}
}

// newPool returns authorities.
func newPool(file string) *renewed[x509.CertPool] {
	return &renewed[x509.CertPool]{files: []string{file}, load: func() (*x509.CertPool, error) {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errNoCertificate
		}
		return pool, nil
	}}
}

var errNoCertificate = errors.New("it holds no certificate")
