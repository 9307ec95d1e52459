package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/messaging"
)

// Server listens on a target, that is on its topic, on its own name and on the
// topic's fanout, and dispatches requests to endpoints. It is safe for
// concurrent use. It serves once: after Stop, make another.
//
// A handler must not stop its own server and wait for that: it would wait for
// itself.
type Server struct {
	transport *messaging.Transport
	target    messaging.Target
	opts      ServerOptions
	invoke    Invoker
	jobs      sync.Pool // of *job
	stats     counters
	attempts  attempts
	late      chan struct{} // a place for each reply that waits for its address
	noise     noise
	session   atomic.Pointer[session] // nil until it is started

	gate  chan struct{} // holds one element while Start, Stop or the end of Wait work
	state serverState   // guarded by gate
}

// session is what a server has from its start on.
type session struct {
	stream *messaging.Stream
	halt   context.CancelFunc      // ends polling
	abort  context.CancelCauseFunc // ends handlers
	polled chan struct{}           // closed when the poll loop has ended
	err    error                   // why the loop ended by itself; read after polled is closed
	inHand tracker                 // requests, and the poll loop

	poll     context.Context //nolint:containedctx // cancelled by halt
	handlers context.Context //nolint:containedctx // cancelled by abort: the parent of the handlers' contexts
	plain    context.Context //nolint:containedctx // never cancelled: what belongs to a request in hand is brought to its end
}

func newSession(ctx context.Context, stream *messaging.Stream) *session {
	ss := &session{stream: stream, plain: context.WithoutCancel(ctx), polled: make(chan struct{})}
	ss.handlers, ss.abort = context.WithCancelCause(ss.plain)
	ss.poll, ss.halt = context.WithCancel(ss.handlers)
	ss.inHand.init()
	return ss
}

// running returns the number of requests in hand.
func (ss *session) running() int {
	n := int(ss.inHand.n.Load())
	select {
	case <-ss.polled:
		return n
	default:
		return max(n-1, 0)
	}
}

type serverState uint8

const (
	stateNew serverState = iota
	stateServing
	stateStopped
	stateClosed
)

// NewServer returns a server of target, which needs a Topic and a Server; its
// Namespace, Version and Fanout are not used. The order of endpoints is the
// order in which they are asked for a method. opts may be nil.
//
// Errors match messaging.ErrInvalidTarget or ErrInvalidVersion.
func NewServer(t *messaging.Transport, target messaging.Target, eps []*Endpoint, opts *ServerOptions) (*Server, error) {
	target = messaging.Target{Exchange: target.Exchange, Topic: target.Topic, Server: target.Server}
	s := &Server{transport: t, target: target, opts: opts.withDefaults(), gate: make(chan struct{}, 1), late: make(chan struct{}, maxLateReplies)}
	if err := target.Validate(); err != nil {
		return nil, s.opError("making", err)
	}
	if target.Server == "" {
		return nil, s.opError("making", fmt.Errorf("%w: a server needs a name", messaging.ErrInvalidTarget))
	}
	d, err := newDispatcher(eps, s.opts.Access, s.opts.Encoding)
	if err == nil && s.opts.Ping {
		err = d.add(pingEndpoint(), LegacyAccess)
	}
	if err != nil {
		return nil, s.opError("making", err)
	}
	s.invoke = recovered(d.invoke)
	if len(s.opts.Middleware) > 0 {
		s.invoke = recovered(chain(s.invoke, s.opts.Middleware))
	}
	return s, nil
}

// Start returns when messages that are sent from then on reach the server. It
// waits for a connection until ctx ends; then, and after another failure, it
// may be called again. ctx bounds the start only, and its values are those of
// the handlers' contexts. To start a server that serves is no error; after Stop
// it is messaging.ErrClosed.
func (s *Server) Start(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return s.opError("starting", err)
	}
	defer s.leave()
	switch s.state {
	case stateServing:
		return nil
	case stateStopped, stateClosed:
		return s.opError("starting", fmt.Errorf("%w: a server serves once", messaging.ErrClosed))
	}
	stream, err := s.transport.Listen(ctx, messaging.Subscription{
		Sources:    s.target.ListenAddresses(),
		Prefetch:   s.opts.Prefetch,
		AtMostOnce: s.opts.Ack == AckEarly,
	})
	if err != nil {
		return s.opError("starting", err)
	}
	ss := newSession(ctx, stream)
	s.session.Store(ss)
	s.state = stateServing
	go s.poll(ss)
	return nil
}

// poll hands what comes to the executor until the session is halted or its
// stream ends.
func (s *Server) poll(ss *session) {
	ended := false
	defer func() {
		if !ended { // a handler on a Blocking executor ended its goroutine
			go s.poll(ss)
			return
		}
		close(ss.polled)
		ss.inHand.exit()
	}()
	for {
		in, err := ss.stream.Poll(ss.poll)
		if err != nil {
			if ss.poll.Err() == nil {
				ss.err = err
			}
			ended = true
			return
		}
		s.accept(ss, in)
	}
}

// accept gives a request to the executor. When the server stops before there is
// room, the request goes back for another server; where that is impossible, it
// is handled after all.
func (s *Server) accept(ss *session, in *messaging.Incoming) {
	ss.inHand.enter()
	j := s.newJob(ss, in)
	if s.opts.Executor.Execute(ss.poll, j.run) == nil {
		return
	}
	err := in.Settle(ss.plain, messaging.Requeue)
	if errors.Is(err, messaging.ErrUnsupported) && s.opts.Executor.Execute(ss.handlers, j.run) == nil {
		return
	}
	j.release()
}

// Stop ends the receiving and returns when no request will be started any more:
// those that were prefetched go back unharmed, for other servers; those in hand
// go on, see Wait (with a Blocking executor that is one, and Stop waits for it).
// It may be called again, and concurrently: the first call works, the others
// wait for it. A server that was never started cannot be
// started after it.
func (s *Server) Stop(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return s.opError("stopping", err)
	}
	defer s.leave()
	switch s.state {
	case stateNew:
		s.state = stateClosed
		return nil
	case stateStopped, stateClosed:
		return nil
	}
	ss := s.session.Load()
	ss.halt()
	_, err := ss.stream.Stop(ctx)
	if err != nil && !errors.Is(err, messaging.ErrClosed) {
		return s.opError("stopping", err)
	}
	select {
	case <-ss.polled:
	case <-ctx.Done():
		return s.opError("stopping", context.Cause(ctx))
	}
	s.state = stateStopped
	return nil
}

// Wait returns when the requests in hand are done, their replies are sent and
// everything is freed. It stops the server if nobody did. When ctx ends first,
// the contexts of the handlers are cancelled and the error is a *DrainError;
// Wait may be called again then to wait for them. It may be called
// concurrently.
//
// If receiving had ended by itself, because the transport was closed or for a
// permanent reason, that is the error.
func (s *Server) Wait(ctx context.Context) error {
	if err := s.Stop(ctx); err != nil {
		return s.drainError(ctx, err)
	}
	ss := s.session.Load()
	if ss == nil { // never started
		return nil
	}
	if ss.inHand.wait(ctx) != nil {
		return s.drainError(ctx, nil)
	}
	if err := s.free(ctx, ss); err != nil {
		return s.opError("draining", err)
	}
	if ss.err != nil {
		return s.opError("receiving for", ss.err)
	}
	return nil
}

// free ends what a drained session still has.
func (s *Server) free(ctx context.Context, ss *session) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if s.state == stateClosed {
		return nil
	}
	if err := s.opts.Executor.Close(ctx); err != nil {
		return err
	}
	if err := ss.stream.Close(ctx); err != nil && !errors.Is(err, messaging.ErrClosed) {
		return err
	}
	ss.abort(nil)
	s.state = stateClosed
	return nil
}

// drainError tells why a drain did not end. If it is that ctx ended, handlers
// are told.
func (s *Server) drainError(ctx context.Context, err error) error {
	ss := s.session.Load()
	if ctx.Err() == nil || ss == nil {
		return err
	}
	running := &DrainError{Running: ss.running()}
	ss.abort(running)
	return s.opError("draining", running)
}

// Serve starts the server, runs until ctx ends, then stops and waits within
// ServerOptions.DrainTimeout. It is what a main function wants. A nil error
// means that ctx ended and everything was drained; a *DrainError that it was
// not. If receiving ends by itself, Serve returns why.
func (s *Server) Serve(ctx context.Context) error {
	if err := s.Start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-s.session.Load().polled:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.DrainTimeout)
	defer cancel()
	return s.Wait(drain)
}

func (s *Server) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case s.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Server) leave() { <-s.gate }

func (s *Server) opError(op string, err error) error {
	a := s.target.ListenAddresses()[1]
	return &messaging.OpError{Op: op, Addr: a.String(), Err: err}
}
