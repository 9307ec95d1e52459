package zmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
)

// server is the listening half of a node: the endpoint, the links that others
// opened to it, and the sources they can send to.
//
// Lock order: server.mu before listener.mu before session.mu.
type server struct {
	c *conn

	life context.Context //nolint:containedctx // of links that have not greeted
	end  context.CancelCauseFunc

	binding chan struct{} // holds one element while somebody binds

	mu       sync.RWMutex // protects the following
	bound    *link.Listener
	lease    discovery.Lease
	remove   func() // removes what binding left in the file system
	sessions map[*session]struct{}
	sources  map[uint32]*source
	last     uint32 // number of the newest source
	leaving  bool
}

func newServer(c *conn) *server {
	s := &server{c: c, binding: make(chan struct{}, 1), sessions: map[*session]struct{}{}, sources: map[uint32]*source{}}
	s.life, s.end = context.WithCancelCause(c.life)
	return s
}

// bind binds the node's endpoint, if that was not done, and makes it known.
func (s *server) bind(ctx context.Context) error {
	select {
	case s.binding <- struct{}{}:
		defer func() { <-s.binding }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	defer context.AfterFunc(s.life, func() { giveUp(errLeaving) })()
	s.mu.RLock()
	bound, lease := s.bound != nil, s.lease != nil
	s.mu.RUnlock()
	if !bound {
		if err := s.open(ctx); err != nil {
			return err
		}
	}
	if lease {
		return nil
	}
	made, err := s.c.discovery.Register(ctx, s.c.endpoint())
	if err != nil {
		return fmt.Errorf("registering the endpoint: %w", err)
	}
	s.mu.Lock()
	s.lease = made
	s.mu.Unlock()
	s.c.client.bound(s)
	return nil
}

// open binds.
func (s *server) open(ctx context.Context) error {
	config, err := s.c.d.secure.server()
	if err != nil {
		return err
	}
	ln, remove, err := s.c.listen(ctx)
	if err != nil {
		return err
	}
	if err := s.c.d.secure.checkBind(ln.Addr(), s.c.d.password); err != nil {
		_ = ln.Close()
		remove()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		_ = ln.Close()
		remove()
		return errLeaving
	}
	s.remove = remove
	s.bound = link.Accept(s.c.life, ln, config, s.c.accepting(), s.c.o.link, s.c.o.limits, s.serve, s.refused)
	return nil
}

// refused tells of peers that did not become a link, unless somebody only looked
// whether the port is open.
func (s *server) refused(remote net.Addr, err error) {
	if errors.Is(err, link.ErrHungUp) {
		return
	}
	others, ok := s.c.noise.Allow()
	if !ok {
		return
	}
	args := []any{"error", explainStranger(err)}
	if remote != nil {
		args = append(args, "peer", remote.String())
	}
	if others > 0 {
		args = append(args, "not_logged", others)
	}
	s.c.log.Warn("patchbay: refused a link", args...)
}

// pipe opens a link to ourselves, and returns the end that sends.
func (s *server) pipe() (*link.Link, error) {
	ours, theirs := link.Pipe(s.c.life, s.c.o.link)
	if !s.c.spawn(func() { s.serve(theirs) }) {
		theirs.Abort(errLeaving)
		ours.Abort(errLeaving)
		return nil, errLeaving
	}
	return ours, nil
}

// serve serves a link that somebody opened, until it ends.
func (s *server) serve(lk *link.Link) {
	ss := &session{server: s, link: lk}
	theirs, err := ss.greet()
	if err == nil {
		ss.name, ss.local = theirs.Name, theirs.Node == s.c.id
		if !ss.local {
			s.c.links.Up()
		}
		err = ss.read()
	} else {
		s.refused(lk.Remote(), err)
	}
	orderly := errors.Is(err, errLeft) || errors.Is(err, net.ErrClosed)
	greeted := theirs != nil
	s.mu.Lock()
	delete(s.sessions, ss)
	sources := slices.Collect(maps.Values(s.sources))
	s.mu.Unlock()
	ss.end()
	s.c.forget(ss.number)
	for _, src := range sources {
		src.forget(ss)
	}
	if orderly {
		_ = lk.Close() // what was written for it still goes out
	} else {
		lk.Abort(err)
	}
	if greeted && !ss.local {
		if orderly {
			err = nil
		} else {
			err = lostError(err)
		}
		s.c.links.Down(lk.Remote().String(), err)
	}
}

// admit makes a session known, and returns what it is told of us: both at once,
// so that it misses no source.
func (s *server) admit(ss *session) (*proto.HelloBody, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		return nil, errLeaving
	}
	ss.number = s.c.number(linkRef{session: ss, link: ss.link})
	var sources []proto.Source
	for _, src := range s.sources {
		sources = append(sources, src.wire)
	}
	hello := s.c.hello(sources)
	ss.mu.Lock() // what is told of sources from now on is told behind the greeting
	defer ss.mu.Unlock()
	s.sessions[ss] = struct{}{}
	return hello, sendHello(ss.link, hello)
}

// add makes a listener's sources known.
func (s *server) add(l *listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		return errLeaving
	}
	var wire []proto.Source
	for _, src := range l.sources {
		s.last++
		src.wire.Number = s.last
		s.sources[s.last] = src
		wire = append(wire, src.wire)
	}
	s.tell(proto.Head{Kind: proto.Listen}, proto.AppendSources(nil, wire))
	return nil
}

// drop says that a listener's sources are gone or, when it was said before, that
// what they have not settled is given back.
func (s *server) drop(l *listener, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var numbers []uint32
	for _, src := range l.sources {
		delete(s.sources, src.wire.Number)
		numbers = append(numbers, src.wire.Number)
	}
	head := proto.Head{Kind: proto.Unlisten}
	if closed {
		head.Flags = proto.Closed
	}
	s.tell(head, proto.AppendNumbers(nil, numbers))
}

// tell writes a message to all sessions. mu is held.
func (s *server) tell(head proto.Head, second []byte) {
	for ss := range s.sessions {
		ss.write(head, second)
	}
}

func (s *server) source(number uint32) *source {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sources[number]
}

// leave ends the endpoint: it says goodbye to all, and returns when their links
// have ended or ctx has.
func (s *server) leave(ctx context.Context) {
	s.mu.Lock()
	s.leaving = true
	bound, remove := s.bound, s.remove
	s.bound = nil
	sessions := slices.Collect(maps.Keys(s.sessions))
	s.mu.Unlock()
	s.end(errLeaving)
	select { // who binds may be about to have a lease
	case s.binding <- struct{}{}:
		<-s.binding
	case <-ctx.Done():
	}
	s.mu.Lock()
	lease := s.lease
	s.lease = nil
	s.mu.Unlock()
	if lease != nil {
		if err := lease.Release(ctx); err != nil {
			s.c.log.Warn("patchbay: taking the endpoint out of discovery", "error", err)
		}
	}
	for _, ss := range sessions {
		ss.farewell()
	}
	var waiting sync.WaitGroup
	for _, ss := range sessions {
		waiting.Go(func() { ss.await(ctx) })
	}
	waiting.Wait()
	if bound != nil {
		bound.Close()
		remove()
	}
}

// addr returns the address that the endpoint is bound to.
func (s *server) addr() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.bound == nil {
		return ""
	}
	return s.bound.Addr().String()
}
