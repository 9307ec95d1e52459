package rpc

import (
	"context"
	"fmt"
	"sync"

	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/messaging"
)

// Server listens on a target, that is on its topic, on its own name and on the
// topic's fanout, and dispatches requests to endpoints. It is safe for
// concurrent use. It serves once: after Stop, make another. Serve or Wait ends it:
// until then its workers stay, also when it is stopped or its transport closed.
//
// A handler must not stop its own server and wait for that: it would wait for
// itself.
type Server struct {
	transport  *messaging.Transport
	target     messaging.Target
	opts       ServerOptions
	receiver   *serving.Receiver
	redelivery serving.Redelivery
	invoke     Invoker
	jobs       sync.Pool // of *job
	stats      counters
	late       chan struct{} // a place for each reply that waits for its address
	noise      noise
}

// NewServer returns a server of target, which needs a Topic and a Server; its
// Namespace, Version and Fanout are not used. The order of endpoints is the
// order in which they are asked for a method. opts may be nil.
//
// Errors match messaging.ErrInvalidTarget or ErrInvalidVersion.
func NewServer(t *messaging.Transport, target messaging.Target, eps []*Endpoint, opts *ServerOptions) (*Server, error) {
	target = messaging.Target{Exchange: target.Exchange, Topic: target.Topic, Server: target.Server}
	s := &Server{transport: t, target: target, opts: opts.withDefaults(), late: make(chan struct{}, maxLateReplies)}
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
	s.redelivery.Delay, s.redelivery.Limit = s.opts.RequeueDelay, s.opts.MaxAttempts
	s.receiver = serving.New(serving.Config{
		Transport: t,
		Subscription: messaging.Subscription{
			Sources:    target.ListenAddresses(),
			Prefetch:   s.opts.Prefetch,
			AtMostOnce: s.opts.Ack == AckEarly,
		},
		Executor:     s.opts.Executor,
		DrainTimeout: s.opts.DrainTimeout,
		Next:         s.next,
		Job:          func(ss *serving.Session, in *messaging.Incoming) serving.Job { return s.newJob(ss, in) },
		OpError:      s.opError,
	})
	return s, nil
}

// next waits for a request.
func (s *Server) next(ss *serving.Session) (serving.Job, error) {
	in, err := ss.Stream.Poll(ss.Poll)
	if err != nil {
		return nil, err
	}
	return s.newJob(ss, in), nil
}

// Start returns when messages that are sent from then on reach the server. It
// waits for a connection until ctx ends; then, and after another failure, it
// may be called again. ctx bounds the start only, and its values are those of
// the handlers' contexts. To start a server that serves is no error; after Stop
// it is messaging.ErrClosed.
func (s *Server) Start(ctx context.Context) error { return s.receiver.Start(ctx) }

// Stop ends the receiving and returns when no request will be taken any more:
// those that were prefetched go back unharmed, for other servers; those in hand,
// which a worker may be about to begin, go on, see Wait (with a Blocking executor
// that is one, and Stop waits for it). It may be called again, and concurrently:
// the first call works, the others wait for it. A server that was never started
// cannot be started after it.
func (s *Server) Stop(ctx context.Context) error { return s.receiver.Stop(ctx) }

// Wait returns when the requests in hand are done, their replies are sent and
// everything is freed. It stops the server if nobody did. When ctx ends first,
// the contexts of the handlers are cancelled and the error is a *DrainError;
// Wait may be called again then to wait for them. It may be called
// concurrently.
//
// If receiving had ended by itself, because the transport was closed or for a
// permanent reason, that is the error.
func (s *Server) Wait(ctx context.Context) error { return s.receiver.Wait(ctx) }

// Serve starts the server, runs until ctx ends, then stops and waits within
// ServerOptions.DrainTimeout. It is what a main function wants. A nil error
// means that ctx ended and everything was drained; a *DrainError that it was
// not. If receiving ends by itself, Serve returns why.
func (s *Server) Serve(ctx context.Context) error { return s.receiver.Serve(ctx) }

func (s *Server) opError(op string, err error) error {
	a := s.target.ListenAddresses()[1]
	return &messaging.OpError{Op: op, Addr: a.String(), Err: err}
}
