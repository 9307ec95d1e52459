package serving

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Job is what one turn of the poll loop fetched: a request, say, or a batch of
// notifications. Either what Task returns ends it or Release does; both call
// Session.Done as the last thing.
type Job interface {
	// Task returns what does the job.
	Task() func()
	// Return gives it back, undone, for another receiver.
	Return(ctx context.Context) error
	// Release ends a job that was not done.
	Release()
}

// Config is what makes a Receiver. All fields are needed but Job.
type Config struct {
	Transport    *messaging.Transport
	Subscription messaging.Subscription
	Executor     Executor
	DrainTimeout time.Duration // of Serve

	// Next waits for the next job. It is called by the one goroutine of the poll
	// loop, which ends when it fails.
	Next func(*Session) (Job, error)

	// Job makes a job of one message, for which the poll loop is not needed. Nil:
	// Next makes them all. It does not block, and is called concurrently.
	Job func(*Session, *messaging.Incoming) Job

	// OpError says where an operation failed; op is in the gerund.
	OpError func(op string, err error) error
}

// Receiver receives from Start to Stop, and has what comes done by its executor.
// It is safe for concurrent use. It serves once: after Stop, make another.
type Receiver struct {
	Config
	session atomic.Pointer[Session] // nil until it is started

	gate  chan struct{} // holds one element while Start, Stop or the end of Wait work
	state state         // guarded by gate
}

type state uint8

const (
	stateNew state = iota
	stateServing
	stateStopped
	stateClosed
)

// New returns a receiver that is not started.
func New(c Config) *Receiver { return &Receiver{Config: c, gate: make(chan struct{}, 1)} }

// Start returns when messages that are sent from then on reach the receiver. It
// waits for a connection until ctx ends; then, and after another failure, it
// may be called again. ctx bounds the start only, and its values are those of
// the session's contexts. To start what serves is no error; after Stop it is
// messaging.ErrClosed.
func (r *Receiver) Start(ctx context.Context) error {
	if err := r.enter(ctx); err != nil {
		return r.OpError("starting", err)
	}
	defer r.leave()
	switch r.state {
	case stateServing:
		return nil
	case stateStopped, stateClosed:
		return r.OpError("starting", fmt.Errorf("%w: it serves once", messaging.ErrClosed))
	}
	stream, err := r.Transport.Listen(ctx, r.Subscription)
	if err != nil {
		return r.OpError("starting", err)
	}
	ss := newSession(ctx, stream)
	r.session.Store(ss)
	r.state = stateServing
	go r.poll(ss)
	if w, ok := r.Executor.(*Workers); ok && r.Job != nil && w.Concurrency() > 1 { // one worker has them in order
		stream.Offer(&taker{job: r.Job, session: ss, workers: w})
	}
	return nil
}

// poll hands what comes to the executor until the session is halted or its
// stream ends.
func (r *Receiver) poll(ss *Session) {
	ended := false
	defer func() {
		if !ended { // a task on a Blocking executor ended its goroutine
			go r.poll(ss)
			return
		}
		close(ss.polled)
		ss.inHand.exit()
	}()
	for {
		j, err := r.Next(ss)
		if err != nil {
			if ss.Poll.Err() == nil {
				ss.err = err
			}
			ended = true
			return
		}
		r.accept(ss, j)
	}
}

// accept gives a job to the executor. When the receiver stops before there is
// room, it goes back for another; where that is impossible, it is done after
// all.
func (r *Receiver) accept(ss *Session, j Job) {
	ss.inHand.enter()
	task := j.Task()
	if r.Executor.Execute(ss.Poll, task) == nil {
		return
	}
	err := j.Return(ss.Plain)
	if errors.Is(err, messaging.ErrUnsupported) && r.Executor.Execute(ss.Handlers, task) == nil {
		return
	}
	j.Release()
}

// Stop ends the receiving and returns when no job will be taken any more:
// what was prefetched goes back unharmed, jobs in hand go on, see Wait (with a
// Blocking executor that is one, and Stop waits for it). It may be called again,
// and concurrently: the first call works, the others wait for it. What was never
// started cannot be started after it.
func (r *Receiver) Stop(ctx context.Context) error {
	if err := r.enter(ctx); err != nil {
		return r.OpError("stopping", err)
	}
	defer r.leave()
	switch r.state {
	case stateNew:
		r.state = stateStopped
		return nil
	case stateStopped, stateClosed:
		return nil
	}
	ss := r.session.Load()
	ss.halt()
	_, err := ss.Stream.Stop(ctx)
	if err != nil && !errors.Is(err, messaging.ErrClosed) {
		return r.OpError("stopping", err)
	}
	select {
	case <-ss.polled:
	case <-ctx.Done():
		return r.OpError("stopping", context.Cause(ctx))
	}
	r.state = stateStopped
	return nil
}

// Wait returns when the jobs in hand are done and everything is freed. It stops
// the receiver if nobody did. When ctx ends first, Session.Handlers is cancelled
// and the error is a *messaging.DrainError; Wait may be called again then. It
// may be called concurrently. If receiving had ended by itself, that is the error.
func (r *Receiver) Wait(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return r.drainError(ctx, err)
	}
	ss := r.session.Load() // nil: never started
	if ss != nil && ss.inHand.wait(ctx) != nil {
		return r.drainError(ctx, nil)
	}
	if err := r.free(ctx, ss); err != nil {
		return r.OpError("draining", err)
	}
	if ss != nil && ss.err != nil {
		return r.OpError("receiving for", ss.err)
	}
	return nil
}

// free ends what is left: the executor, and what a drained session still has.
func (r *Receiver) free(ctx context.Context, ss *Session) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.leave()
	if r.state == stateClosed {
		return nil
	}
	if err := r.Executor.Close(ctx); err != nil {
		return err
	}
	if ss != nil {
		if err := ss.Stream.Close(ctx); err != nil && !errors.Is(err, messaging.ErrClosed) {
			return err
		}
		ss.abort(nil)
	}
	r.state = stateClosed
	return nil
}

// drainError tells why a drain did not end. If it is that ctx ended, the
// handlers are told; and if it ended before the receiver was stopped, that is begun
// at least, or what still comes would wait for nobody.
func (r *Receiver) drainError(ctx context.Context, err error) error {
	ss := r.session.Load()
	if ctx.Err() == nil || ss == nil {
		return err
	}
	running := &messaging.DrainError{Running: ss.running()}
	ss.abort(running)
	_, _ = ss.Stream.Stop(ctx)
	return r.OpError("draining", running)
}

// Serve starts the receiver, runs until ctx ends, then stops and waits within
// DrainTimeout. If receiving ends by itself, it returns why.
func (r *Receiver) Serve(ctx context.Context) error {
	if err := r.Start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-r.session.Load().polled:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.DrainTimeout)
	defer cancel()
	return r.Wait(drain)
}

// Running returns the number of jobs in hand.
func (r *Receiver) Running() int {
	if ss := r.session.Load(); ss != nil {
		return ss.running()
	}
	return 0
}

func (r *Receiver) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case r.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Receiver) leave() { <-r.gate }
