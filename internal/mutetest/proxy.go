// Package mutetest has brokers that live and do not answer: a real one, behind a proxy
// that swallows some of what it says and passes everything else, heartbeats too. So no
// idle timeout helps who waits for the answer.
package mutetest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/splice"
)

// Protocol is how frames are found in what a broker says; see splice.Reader.
type Protocol struct {
	Head int
	Size func(head []byte) (int, error)
}

// Proxy is one in front of a broker.
type Proxy struct {
	Addr string // where it listens

	protocol Protocol
	target   string
	swallow  atomic.Pointer[func([]byte) bool]
}

// largest is what a frame may have, to be swallowed.
const largest = 1 << 20

// NewProxy starts a proxy to target, which ends with the test.
func NewProxy(tb testing.TB, target string, p Protocol) *Proxy {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	proxy := &Proxy{Addr: l.Addr().String(), protocol: p, target: target}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { proxy.pass(tb, client) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return proxy
}

// Swallow makes the proxy keep to itself those frames of the broker for which is
// reports true, on all connections; nil: none.
func (p *Proxy) Swallow(is func(frame []byte) bool) {
	if is == nil {
		p.swallow.Store(nil)
		return
	}
	p.swallow.Store(&is)
}

// pass serves a connection until either side ends it.
func (p *Proxy) pass(tb testing.TB, client net.Conn) {
	defer func() { _ = client.Close() }()
	broker, err := net.Dial("tcp", p.target) //nolint:noctx // it is on this machine
	if err != nil {
		tb.Errorf("the broker cannot be reached: %v", err)
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(broker, client)
		_ = broker.Close()
	})
	r := splice.New(broker, largest)
	r.Head, r.Size, r.Interval = p.protocol.Head, p.protocol.Size, time.Hour
	r.Take = func(frame []byte) (bool, error) {
		is := p.swallow.Load()
		return is != nil && (*is)(frame), nil
	}
	_, _ = io.Copy(client, r)
	_ = client.Close()
	both.Wait()
}
