package notify

import (
	"context"
	"fmt"
	"slices"

	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/internal/throttle"
	"github.com/patchbay-go/patchbay/messaging"
)

// Listener receives the notifications of its targets and has endpoints handle
// them. It is safe for concurrent use. It listens once: after Stop, make another.
// Serve or Wait ends it: until then its workers stay, also when it is stopped or its
// transport closed.
//
// A handler must not stop its own listener and wait for that: it would wait for
// itself.
type Listener struct {
	transport  *messaging.Transport
	opts       ListenerOptions
	sources    []source
	receiver   *serving.Receiver
	redelivery serving.Redelivery
	dispatch   *dispatcher
	stats      counters
	noise      noise
}

// source is one address that a listener listens on.
type source struct {
	target   messaging.Target
	priority Priority
}

// noise are the kinds of complaints, so that one does not hide another.
type noise struct{ panics, failed, abandoned, ignored throttle.Limit }

// NewListener returns a listener on the topics of targets, of which only Exchange
// and Topic are used, for every priority that an endpoint has a handler for. The
// order of endpoints is the order in which they get a notification. opts may be
// nil.
//
// Errors match messaging.ErrInvalidTarget, or say which filter is malformed.
func NewListener(t *messaging.Transport, targets []messaging.Target, eps []*Endpoint, opts *ListenerOptions) (*Listener, error) {
	l := &Listener{transport: t, opts: opts.withDefaults()}
	sub, err := l.subscription(targets, eps)
	if err != nil {
		return nil, &messaging.OpError{Op: "making a listener", Err: err}
	}
	l.redelivery.Delay, l.redelivery.Limit = l.opts.RequeueDelay, l.opts.MaxAttempts
	l.receiver = serving.New(serving.Config{
		Transport:    t,
		Subscription: sub,
		Executor:     l.opts.Executor,
		DrainTimeout: l.opts.DrainTimeout,
		Next:         l.next,
		OpError: func(op string, err error) error {
			return &messaging.OpError{Op: op + " the listener of", Addr: sub.Sources[0].String(), Err: err}
		},
	})
	return l, nil
}

// subscription makes what the listener subscribes to.
func (l *Listener) subscription(targets []messaging.Target, eps []*Endpoint) (sub messaging.Subscription, err error) {
	if l.dispatch, err = newDispatcher(eps, l.opts.Encoding, l.opts.Middleware); err != nil {
		return sub, err
	}
	if len(targets) == 0 {
		return sub, fmt.Errorf("%w: none", messaging.ErrInvalidTarget)
	}
	if l.opts.Pool != "" {
		if err := (messaging.Target{Topic: l.opts.Pool}).Validate(); err != nil {
			return sub, fmt.Errorf("pool %.100q: %w", l.opts.Pool, err)
		}
	}
	sub.Group, sub.Tap, sub.Prefetch = l.opts.Pool, l.opts.Tap, l.opts.Prefetch
	for _, target := range targets {
		for _, p := range l.dispatch.priorities() {
			a, err := address(target, p)
			if err != nil {
				return sub, err
			}
			if slices.Contains(sub.Sources, a) {
				continue
			}
			sub.Sources = append(sub.Sources, a)
			l.sources = append(l.sources, source{messaging.Target{Exchange: target.Exchange, Topic: target.Topic}, p})
		}
	}
	return sub, nil
}

// Start returns when notifications that are sent from then on reach the listener.
// It waits for a connection until ctx ends; then, and after another failure, it
// may be called again. ctx bounds the start only, and its values are those of the
// handlers' contexts. To start a listener that listens is no error; after Stop it
// is messaging.ErrClosed. What the peer cannot do is messaging.ErrUnsupported.
func (l *Listener) Start(ctx context.Context) error {
	if l.opts.AllowRequeue {
		caps, err := l.transport.Capabilities(ctx)
		if err == nil && !caps.Requeue {
			err = fmt.Errorf("%w: requeue", messaging.ErrUnsupported)
		}
		if err != nil {
			return l.receiver.OpError("starting", err)
		}
	}
	return l.receiver.Start(ctx)
}

// Stop ends the receiving and returns when no notification will be handled any more
// but those in hand, see Wait (with a Blocking executor that is one, and Stop waits
// for it). What was prefetched goes back unharmed, for other listeners; so does what
// waits to be given back. It may be called again, and concurrently: the first call
// works, the others wait for it. A listener that was never started cannot be
// started after it.
func (l *Listener) Stop(ctx context.Context) error { return l.receiver.Stop(ctx) }

// Wait returns when the notifications in hand are handled and everything is freed.
// It stops the listener if nobody did. When ctx ends first, the contexts of the
// handlers are cancelled and the error is a *DrainError; Wait may be called again
// then to wait for them. It may be called concurrently.
//
// If receiving had ended by itself, because the transport was closed or for a
// permanent reason, that is the error.
func (l *Listener) Wait(ctx context.Context) error { return l.receiver.Wait(ctx) }

// Serve starts the listener, runs until ctx ends, then stops and waits within
// ListenerOptions.DrainTimeout. It is what a main function wants. A nil error
// means that ctx ended and everything was drained; a *DrainError that it was not.
// If receiving ends by itself, Serve returns why.
func (l *Listener) Serve(ctx context.Context) error {
	if err := l.Start(ctx); err != nil {
		return err
	}
	return l.receiver.Serve(ctx)
}

// next waits for a notification, and for those that go into a batch with it.
func (l *Listener) next(ss *serving.Session) (serving.Job, error) {
	in, err := ss.Stream.Poll(ss.Poll)
	if err != nil {
		return nil, err
	}
	j := &job{listener: l, session: ss}
	j.add(in)
	if l.opts.BatchSize == 1 {
		return j, nil
	}
	ctx, cancel := context.WithTimeout(ss.Poll, l.opts.BatchTimeout)
	defer cancel()
	for len(j.batch) < l.opts.BatchSize {
		in, err := ss.Stream.Poll(ctx)
		if err != nil {
			break // the time is over; if it is something else, the next poll will see it too
		}
		j.add(in)
	}
	return j, nil
}
