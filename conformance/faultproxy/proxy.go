// Package faultproxy is a TCP proxy inside the process that does to connections
// what networks do: it cuts them, resets them in the middle of a frame, lets
// them live and passes nothing, delays them, refuses new ones.
//
//	p, err := faultproxy.Listen(ctx, "localhost:5672")
//	// dial p.Addr() instead
//	p.Cut()
//
// It needs no privileges and nothing but the standard library.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy passes connections on to one address. Its methods are safe for
// concurrent use; each fault is in force when its method returns, for all
// connections.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup  // the accepting goroutine and those of links
	life     context.Context //nolint:containedctx // of the proxy itself: ends with Close
	stop     context.CancelFunc

	mu     sync.Mutex // guards the following
	links  map[*link]struct{}
	closed bool
	refuse bool
	delay  time.Duration
	hole   chan struct{} // closed when the blackhole ends; nil without one
	budget int64         // bytes until CutAfter acts; negative: no limit
	muzzle bool          // CutAnswer waits for the target to say something
}

// link is a connection and its continuation.
type link struct {
	proxy        *Proxy
	client, peer net.Conn
	gone         chan struct{}
	once         sync.Once
}

// dialTimeout bounds the connecting to the target.
const dialTimeout = 10 * time.Second

// Listen starts a proxy to target on a free port of the loopback interface. ctx
// bounds the start only.
func Listen(ctx context.Context, target string) (*Proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a proxy to %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: l, links: map[*link]struct{}{}, budget: -1}
	p.life, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Links returns the number of connections that are open.
func (p *Proxy) Links() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close ends the proxy and all connections, and returns when its goroutines
// have ended. It may be called again.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	err := p.listener.Close()
	p.Cut()
	p.running.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the proxy to %s: %w", p.target, err)
	}
	return nil
}

// Cut closes every connection in good order, as a peer that ends does. New
// ones are let through.
func (p *Proxy) Cut() { p.end(false) }

// Reset closes every connection with a TCP reset, wherever in a frame it is:
// what is under way is lost.
func (p *Proxy) Reset() { p.end(true) }

func (p *Proxy) end(reset bool) {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.end(reset)
	}
}

// RefuseNew ends new connections as soon as they are made, until Heal.
func (p *Proxy) RefuseNew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
}

// Blackhole lets every connection live, new ones too, and passes nothing in
// either direction until Heal. What is sent meanwhile is not lost: it arrives
// after Heal if the connection is still there.
func (p *Proxy) Blackhole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hole == nil {
		p.hole = make(chan struct{})
	}
}

// Delay holds back all bytes, in both directions, for d each; 0 ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// CutAfter resets every connection as soon as n more bytes have gone to the
// target over all of them: a frame that is half sent.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = n
}

// CutAnswer resets every connection as soon as the target says anything, on any
// of them: it has what was sent, and its answer is lost.
func (p *Proxy) CutAnswer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muzzle = true
}

// Heal ends all faults. Connections that were cut stay so.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.delay, p.budget, p.muzzle = false, 0, -1, false
	if p.hole != nil {
		close(p.hole)
		p.hole = nil
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(client) })
	}
}

// connect makes the link of an accepted connection and serves it.
func (p *Proxy) connect(client net.Conn) {
	l := &link{proxy: p, client: client, gone: make(chan struct{})}
	if !p.admit(l) {
		abort(client)
		return
	}
	defer l.end(false)
	if !l.open() { // a blackhole swallows the handshake too
		return
	}
	peer, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(p.life, "tcp", p.target)
	if err != nil {
		return
	}
	if !l.join(peer) {
		_ = peer.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.pass(client, peer, true) })
	both.Go(func() { l.pass(peer, client, false) })
	both.Wait()
}

// admit adds a link unless new ones are refused.
func (p *Proxy) admit(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.refuse {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

// join adds the continuation, unless the link ended meanwhile.
func (l *link) join(peer net.Conn) bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	select {
	case <-l.gone:
		return false
	default:
	}
	l.peer = peer
	return true
}

// open waits while there is a blackhole, and reports whether the link lives.
func (l *link) open() bool {
	for {
		l.proxy.mu.Lock()
		hole := l.proxy.hole
		l.proxy.mu.Unlock()
		if hole == nil {
			return true
		}
		select {
		case <-hole:
		case <-l.gone:
			return false
		}
	}
}

// end closes both sides, once.
func (l *link) end(reset bool) {
	l.once.Do(func() {
		p := l.proxy
		p.mu.Lock()
		close(l.gone)
		delete(p.links, l)
		peer := l.peer
		p.mu.Unlock()
		for _, c := range []net.Conn{l.client, peer} {
			switch {
			case c == nil:
			case reset:
				abort(c)
			default:
				_ = c.Close()
			}
		}
	})
}

// abort closes a connection with a TCP reset.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
