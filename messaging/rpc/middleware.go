package rpc

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/patchbay-go/patchbay/internal/jsontext"
	"github.com/patchbay-go/patchbay/messaging"
)

// Invoker sends or handles one request; Middleware wraps it. The same shape
// serves both sides: in a client the innermost one sends and, for a call, waits
// for the reply; in a server it is the handler. The result is the JSON text of
// what the method returned, nil for casts.
type Invoker func(ctx context.Context, r *Request) (json.RawMessage, error)

// Middleware wraps an Invoker. It may act before and after next, call it never
// or several times, and change ctx, request, result and error. It is called
// concurrently.
//
// The first Middleware of a list is the outermost: with {a, b} a request goes
// through a, then b, then to the wire or the handler, and its result through b,
// then a. In a server the handler's panic has become a *PanicError when
// middleware sees it; one of the middleware itself is recovered too.
type Middleware func(next Invoker) Invoker

// chain wraps inner into all middleware, the first outermost.
func chain(inner Invoker, all []Middleware) Invoker {
	for i := len(all) - 1; i >= 0; i-- {
		inner = all[i](inner)
	}
	return inner
}

// recovered returns next with its panics turned into errors, and so those of
// the methods of an error that it returns: a nil pointer of the error's type, say.
func recovered(next Invoker) Invoker {
	return func(ctx context.Context, r *Request) (result json.RawMessage, err error) {
		defer func() {
			if v := recover(); v != nil {
				result, err = nil, newPanicError(v)
			}
		}()
		if result, err = next(ctx, r); err != nil {
			var p *PanicError // what is asked of it later: its methods may panic, too
			_, _, _ = err.Error(), errors.Is(err, ErrRequeue), errors.As(err, &p)
		}
		return result, err
	}
}

// Pattern is how a request travels.
type Pattern uint8

// The patterns.
const (
	PatternCall   Pattern = iota // to one server, which replies
	PatternCast                  // to one server, which does not
	PatternFanout                // a cast to every server of a topic
)

// String returns "call", "cast" or "fanout".
func (p Pattern) String() string {
	switch p {
	case PatternCall:
		return "call"
	case PatternCast:
		return "cast"
	case PatternFanout:
		return "fanout"
	}
	return "unknown"
}

// Side tells whether middleware runs in a client or a server.
type Side uint8

// The sides.
const (
	ClientSide Side = iota
	ServerSide
)

// String returns "client" or "server".
func (s Side) String() string {
	if s == ServerSide {
		return "server"
	}
	return "client"
}

// Request is what middleware and raw handlers see. It is theirs until the
// Invoker returns; Args and the values of Context are read-only.
//
// In a client, what middleware changes of Method, Namespace, Version, Args and
// Context is what is sent; the rest tells. In a server, Context is what the
// caller sent, and a change of Method, Namespace, Version or Args decides what
// is called; the handler's ctx carries the request context that came.
type Request struct {
	Pattern   Pattern
	Side      Side
	Target    messaging.Target // client: where to; server: where it listens
	Method    string
	Namespace string
	Version   string
	ID        string // server: of the message
	CallID    string // server: of the call
	Args      json.RawMessage
	Context   []messaging.ContextValue

	Redelivered bool // server: the broker says that it was delivered before
	Count       int  // server: earlier deliveries; -1: unknown

	// Of a client, see outgoing.
	client   *Client
	receipt  **messaging.Receipt // where StartCast wants it; nil: wait for the outcome
	envelope *messaging.Envelope // to use again; nil: make one
	answer   *messaging.Incoming // which the result is in, if nobody else has it

	// Of a server: the result may stay in a buffer that is used again after the
	// reply, since no middleware can keep it.
	reuse  bool
	buffer *jsontext.Buffer // which the result is in, if it is
	kept   bool             // a handler has the arguments as they came
}
