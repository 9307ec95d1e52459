package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// Limits bound what strangers can take of a Listener.
type Limits struct {
	Links      int // open at a time
	PerHost    int // of them, from one address; sockets of the file system count as one
	Handshakes int // under way at a time: beyond it, the longest one of who has most is ended
}

// Listener accepts links. A peer that is mute, slow or talks nonsense costs one
// handshake until its time is over, or until a newcomer needs its place; it never
// keeps others waiting.
type Listener struct {
	ln       net.Listener
	tls      *tls.Config
	security Security
	o        Options
	limits   Limits
	serve    func(*Link)
	refused  func(remote net.Addr, err error)

	life    context.Context //nolint:containedctx // of the listener: ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // protects the following
	pending map[string][]*handshake
	waiting int            // handshakes in pending
	open    map[string]int // links by host
	links   int
}

// handshake is one that is under way.
type handshake struct {
	nc      net.Conn
	evicted bool
}

// Accept begins to accept links on ln. For each, serve is called on a goroutine
// of its own, and returns when the link has ended; refused, if not nil, is told of
// peers that did not become one. tlsConfig is nil for none.
func Accept(ctx context.Context, ln net.Listener, tlsConfig *tls.Config, security Security, o Options, limits Limits,
	serve func(*Link), refused func(remote net.Addr, err error),
) *Listener {
	l := &Listener{
		ln: ln, tls: tlsConfig, security: security, o: o, limits: limits, serve: serve, refused: refused,
		pending: map[string][]*handshake{}, open: map[string]int{},
	}
	l.life, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.running.Go(l.accept)
	return l
}

// Addr returns the address that the listener is bound to.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Close accepts no more, ends the handshakes under way, and returns when all
// goroutines have ended: those of links too, so their owner closes these first.
func (l *Listener) Close() {
	l.stop()
	_ = l.ln.Close()
	l.mu.Lock()
	for _, list := range l.pending {
		for _, h := range list {
			_ = h.nc.Close()
		}
	}
	l.mu.Unlock()
	l.running.Wait()
}

// Bounds of the wait after an error of Accept, such as too many open files.
const (
	acceptMin = 5 * time.Millisecond
	acceptMax = time.Second
)

func (l *Listener) accept() {
	wait := acceptMin
	for {
		nc, err := l.ln.Accept()
		switch {
		case err == nil:
			wait = acceptMin
			l.admit(nc)
			continue
		case l.life.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		}
		l.tell(nil, err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			wait = min(2*wait, acceptMax)
		case <-l.life.Done():
			timer.Stop()
			return
		}
	}
}

func (l *Listener) tell(remote net.Addr, err error) {
	if l.refused != nil && l.life.Err() == nil {
		l.refused(remote, err)
	}
}

// hostOf returns what PerHost counts by.
func hostOf(a net.Addr) string {
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.Network()
}

// admit begins a handshake, if the limits let it.
func (l *Listener) admit(nc net.Conn) {
	host := hostOf(nc.RemoteAddr())
	h := &handshake{nc: nc}
	l.mu.Lock()
	if l.full(host) {
		l.mu.Unlock()
		_ = nc.Close()
		l.tell(nc.RemoteAddr(), l.tooMany())
		return
	}
	var loser *handshake
	if l.waiting >= l.limits.Handshakes {
		loser = l.evict()
	}
	l.pending[host] = append(l.pending[host], h)
	l.waiting++
	l.mu.Unlock()
	if loser != nil {
		_ = loser.nc.Close()
	}
	l.running.Go(func() { l.handle(host, h) })
}

// full reports whether a host may have no more links. mu is held.
func (l *Listener) full(host string) bool {
	return l.links >= l.limits.Links || l.open[host] >= l.limits.PerHost
}

func (l *Listener) tooMany() error {
	return limitError("%d links in all, or %d from one address", l.limits.Links, l.limits.PerHost)
}

// evict takes the longest handshake of the host that has most out of pending.
// mu is held.
func (l *Listener) evict() *handshake {
	most := ""
	for host, list := range l.pending {
		if len(list) > len(l.pending[most]) {
			most = host
		}
	}
	loser := l.pending[most][0]
	loser.evicted = true
	l.remove(most, loser)
	return loser
}

// remove takes a handshake out of pending. mu is held.
func (l *Listener) remove(host string, h *handshake) {
	list := l.pending[host]
	for i := range list {
		if list[i] == h {
			list = append(list[:i], list[i+1:]...)
			l.waiting--
			break
		}
	}
	if len(list) == 0 {
		delete(l.pending, host)
	} else {
		l.pending[host] = list
	}
}

// handle makes the handshake and serves the link.
func (l *Listener) handle(host string, h *handshake) {
	remote := h.nc.RemoteAddr()
	nc := h.nc
	if l.tls != nil {
		nc = tls.Server(nc, l.tls)
	}
	lk, err := Open(l.life, nc, true, l.security, &l.o)
	l.mu.Lock()
	l.remove(host, h)
	evicted := h.evicted
	full := l.full(host)
	if err == nil && !full {
		l.links++
		l.open[host]++
	}
	l.mu.Unlock()
	switch {
	case evicted && err != nil:
		l.tell(remote, limitError("a handshake was ended for another: %d are under way", l.limits.Handshakes))
		return
	case err != nil:
		l.tell(remote, err)
		return
	case full:
		lk.Abort(l.tooMany())
		l.tell(remote, l.tooMany())
		return
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.links--
		if l.open[host]--; l.open[host] == 0 {
			delete(l.open, host)
		}
	}()
	l.serve(lk)
}
