package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
	"github.com/patchbay-go/patchbay/internal/requestctx"
	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/internal/throttle"
	"github.com/patchbay-go/patchbay/messaging"
)

// fanoutSource is the index of the fanout address in Target.ListenAddresses.
const fanoutSource = 2

// job is one request on its way through a server: acknowledged, handled,
// answered. It is used again for others; what a handler may keep is in contexts.
type job struct {
	server *Server
	run    func() // its method do, bound once

	session  *serving.Session
	in       *messaging.Incoming
	req      *Request // own, or with middleware, which may keep it, one that is not used again
	own      Request
	ctx      *contexts
	result   json.RawMessage
	err      error
	answered messaging.Envelope
	holders  atomic.Int32 // of the job, while its reply is under way
}

// contexts are those of one request, in one allocation.
type contexts struct {
	handler requestctx.Context
	reply   lazyctx.Private // bounds the sending of the reply
}

var errAborted = errors.New("the handler ended its goroutine")

func (s *Server) newJob(ss *serving.Session, in *messaging.Incoming) *job {
	j, _ := s.jobs.Get().(*job)
	if j == nil {
		j = &job{server: s}
		j.run = j.do
	}
	j.session, j.in = ss, in
	return j
}

// Task implements serving.Job.
func (j *job) Task() func() { return j.run }

// Return implements serving.Job: another server may have the request.
func (j *job) Return(ctx context.Context) error { return j.in.Settle(ctx, messaging.Requeue) }

// do handles the request. What it defers happens even if the handler ends its
// goroutine.
func (j *job) do() {
	s, in := j.server, j.in
	if s.opts.Ack == AckEarly {
		j.settle(messaging.Ack)
	}
	if !in.Deadline.IsZero() && time.Until(in.Deadline) <= 0 {
		j.expire()
		return
	}
	j.prepare()
	j.err = errAborted
	if in.Monitor <= 0 || !j.isCall() {
		defer j.finish(nil)
	} else {
		defer j.finish(s.startMonitor(j.session.Plain, in, j.ctx.handler.End))
	}
	j.result, j.err = s.invoke(&j.ctx.handler, j.req)
}

func (j *job) isCall() bool { return j.in.CallID != "" }

// prepare makes what the handler sees.
func (j *job) prepare() {
	in := j.in
	j.req = &j.own
	if len(j.server.opts.Middleware) > 0 {
		j.req = &Request{}
	}
	r := j.req
	*r = Request{
		Pattern:   PatternCast,
		Side:      ServerSide,
		Target:    j.server.target,
		Method:    in.Method,
		Namespace: in.Namespace,
		Version:   in.Version,
		ID:        in.ID,
		CallID:    in.CallID,
		Args:      in.Body,
		Context:   in.Context,

		Redelivered: in.Redelivered,
		Count:       in.Count,

		reuse: len(j.server.opts.Middleware) == 0,
	}
	switch {
	case in.Source == fanoutSource:
		r.Pattern = PatternFanout
	case j.isCall():
		r.Pattern = PatternCall
	}
	if len(r.Args) == 0 {
		r.Args = json.RawMessage("{}")
	}
	j.ctx = &contexts{}
	j.ctx.handler.Init(j.session.Handlers, in.Deadline)
	j.ctx.handler.Values.Entries = in.Context
}

// finish answers and settles, in this order: a late acknowledgement says that
// the reply was sent.
func (j *job) finish(m *monitor) {
	if m != nil {
		m.end()
	}
	j.ctx.handler.End(nil)
	j.count()
	if j.isCall() && !j.answer() {
		return // somebody else finishes
	}
	j.conclude()
}

// conclude settles what is settled late, and releases j.
func (j *job) conclude() {
	if j.server.opts.Ack == AckLate {
		if !j.isCall() && errors.Is(j.err, ErrRequeue) {
			j.giveBack() // and releases j, now or later
			return
		}
		j.settle(messaging.Ack)
	}
	j.free()
	j.Release()
}

// count counts the result and logs what nobody else would hear of.
func (j *job) count() {
	s := j.server
	s.stats.handled.Add(1)
	if j.err == nil {
		return
	}
	s.stats.failed.Add(1)
	var p *PanicError
	switch {
	case errors.As(j.err, &p):
		s.stats.panics.Add(1)
		j.complain(&s.noise.panics, slog.LevelError, "patchbay: a handler panicked", j.err, slog.Any("trace", p.Trace))
	case j.isCall():
	case isRefusal(j.err):
		j.complain(&s.noise.refused, slog.LevelWarn, "patchbay: a cast was refused", j.err)
	default:
		j.complain(&s.noise.failed, slog.LevelWarn, "patchbay: a cast failed", j.err)
	}
}

// complain logs what whoever sends requests can cause at will.
func (j *job) complain(limit *throttle.Limit, level slog.Level, msg string, err error, attrs ...slog.Attr) {
	serving.Complain(j.session.Plain, j.server.opts.Logger, limit, level, msg, err, append(attrs, j.about()...)...)
}

// giveBack requeues the request, later, or drops it when it had its attempts.
// The worker is free meanwhile.
func (j *job) giveBack() {
	s := j.server
	attempt, last := s.redelivery.Failed(j.in)
	if last {
		s.stats.abandoned.Add(1)
		j.complain(&s.noise.abandoned, slog.LevelWarn, "patchbay: a cast was dropped after its last attempt", j.err, slog.Int("attempts", attempt))
		j.settle(messaging.Drop)
		j.Release()
		return
	}
	s.redelivery.Again(j.session, attempt, func() {
		j.settle(messaging.Requeue)
		j.Release()
	})
}

// isRefusal reports whether no handler ran, so that any stranger can cause it.
func isRefusal(err error) bool {
	return errors.Is(err, ErrNoSuchMethod) || errors.Is(err, ErrUnsupportedVersion) || errors.Is(err, ErrBadArguments)
}

// noise are the kinds of complaints, so that one does not hide another.
type noise struct{ panics, refused, failed, abandoned, replies throttle.Limit }

// expire drops a request whose caller does not wait any more.
func (j *job) expire() {
	j.server.stats.expired.Add(1)
	j.log(slog.LevelDebug, "patchbay: a request expired before it was handled")
	if j.server.opts.Ack == AckLate {
		j.settle(messaging.Ack)
	}
	j.Release()
}

// settle tells the broker. An error means that the request may come back,
// marked as redelivered; only that it cannot is dealt with.
func (j *job) settle(o messaging.Outcome) {
	err := j.in.Settle(j.session.Plain, o)
	if errors.Is(err, messaging.ErrUnsupported) {
		j.log(slog.LevelWarn, "patchbay: a cast cannot be given back", slog.Any("error", err))
		err = j.in.Settle(j.session.Plain, messaging.Ack)
	}
	if err != nil {
		j.log(slog.LevelDebug, "patchbay: a request was not settled", slog.String("outcome", o.String()), slog.Any("error", err))
	}
}

// free gives the memory of the request back if nobody has anything of it: what the
// handler got was decoded from it, and there is no error that could quote it.
func (j *job) free() {
	if _, copies := j.server.opts.Encoding.(*JSON); copies && j.err == nil && j.req.reuse && !j.req.kept && len(j.in.Context) == 0 {
		j.in.Release()
	}
}

// Release implements serving.Job: it makes j ready for another request.
func (j *job) Release() {
	ss := j.session
	if j.req != nil && j.req.buffer != nil {
		j.server.opts.Encoding.(*JSON).codec.Free(j.req.buffer)
	}
	*j = job{server: j.server, run: j.run}
	j.server.jobs.Put(j)
	ss.Done()
}

func (j *job) log(level slog.Level, msg string, attrs ...slog.Attr) {
	ctx := j.session.Plain
	if !j.server.opts.Logger.Enabled(ctx, level) {
		return
	}
	j.server.opts.Logger.LogAttrs(ctx, level, msg, append(attrs, j.about()...)...)
}

// about tells which request a line of the log is about.
func (j *job) about() []slog.Attr {
	return []slog.Attr{slog.String("method", serving.Truncate(j.in.Method, 100)), slog.String("topic", j.server.target.Topic)}
}

// ServerStats are a Server's numbers. Counters only grow.
type ServerStats struct {
	Running     int    `json:"running"`      // in hand now, waiting for the executor included
	Handled     uint64 `json:"handled"`      // handlers that returned, failed ones and refused requests included
	Failed      uint64 `json:"failed"`       // with an error: the handler's, or no such method, version, arguments
	Panics      uint64 `json:"panics"`       // of those, by a panic
	Abandoned   uint64 `json:"abandoned"`    // casts dropped after MaxAttempts
	Expired     uint64 `json:"expired"`      // not handled, because the caller had given up
	RepliesLost uint64 `json:"replies_lost"` // not delivered: the caller is gone, or does not wait any more
}

type counters struct{ handled, failed, panics, abandoned, expired, repliesLost atomic.Uint64 }

// Stats returns counters and gauges of the moment.
func (s *Server) Stats() ServerStats {
	return ServerStats{
		Running:     s.receiver.Running(),
		Handled:     s.stats.handled.Load(),
		Failed:      s.stats.failed.Load(),
		Panics:      s.stats.panics.Load(),
		Abandoned:   s.stats.abandoned.Load(),
		Expired:     s.stats.expired.Load(),
		RepliesLost: s.stats.repliesLost.Load(),
	}
}
