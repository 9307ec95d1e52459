package rpc

import (
	"cmp"
	"log/slog"
	"time"
)

// AckMode says when a request is acknowledged.
type AckMode uint8

// The modes. AckEarly is oslo.messaging's rule: at most once, as long as no
// connection is lost between the delivery and its acknowledgement. AckLate is
// at least once: a request whose server died comes back, and so does one whose
// acknowledgement was lost with its connection, unless it comes back to the
// same server, which remembers it.
const (
	AckEarly AckMode = iota // before the handler runs
	AckLate                 // after it returned and the reply was sent
)

// DefaultRequeueDelay is how long a request that a handler gave back is kept at
// first.
const DefaultRequeueDelay = time.Second

// DefaultDrainTimeout bounds the drain of Serve.
const DefaultDrainTimeout = 30 * time.Second

// ServerOptions are the options of a Server. Nil means all defaults.
type ServerOptions struct {
	Executor     Executor      // default: Workers(DefaultWorkers)
	Ack          AckMode       // default: AckEarly
	Prefetch     int           // requests fetched ahead, for each of the three addresses; default: twice the executor's concurrency
	RequeueDelay time.Duration // a cast that its handler gave back is kept for so long, doubled with each attempt up to a minute; default: DefaultRequeueDelay; negative: none
	MaxAttempts  int           // drop a cast that its handler gave back so often: where the queue says so it is dead-lettered; default: no limit
	DrainTimeout time.Duration // of Serve; default: DefaultDrainTimeout
	Ping         bool          // answer PingMethod; default: no
	Access       AccessPolicy  // default: DefaultAccess
	Encoding     Encoding      // default: &JSON{Strict: true}
	Middleware   []Middleware  // the first is the outermost
	Logger       *slog.Logger  // gets panics, casts that failed and replies that nobody took; default: slog.Default
}

func (o *ServerOptions) withDefaults() ServerOptions {
	var r ServerOptions
	if o != nil {
		r = *o
	}
	if r.Executor == nil {
		r.Executor = Workers(DefaultWorkers)
	}
	if r.Prefetch <= 0 {
		r.Prefetch = 2 * max(r.Executor.Concurrency(), 1)
	}
	r.RequeueDelay = cmp.Or(r.RequeueDelay, DefaultRequeueDelay)
	r.DrainTimeout = cmp.Or(r.DrainTimeout, DefaultDrainTimeout)
	if r.Access == nil {
		r.Access = DefaultAccess
	}
	if r.Encoding == nil {
		r.Encoding = &JSON{Strict: true}
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	return r
}
