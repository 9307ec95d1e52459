package telemetry

import (
	"context"
	"errors"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// result is how a request or a send ended: the rpc.response.status_code, and
// the error.type unless it is ok. There are few, so that they can be labels.
type result uint8

const (
	ok result = iota

	// Of a send, and of a request in a client.
	notSent
	noRoute
	rejected
	unknown

	// Of a call, in a client.
	timeout
	serverLost
	replyLost
	remoteError

	// Of a handler.
	noSuchMethod
	unsupportedVersion
	badArguments
	panicked
	requeued

	// Of both.
	canceled
	closed
	failed // everything else

	results // how many there are
)

// String returns the result as labels say it.
func (r result) String() string {
	return [results]string{
		"ok", "not_sent", "no_route", "rejected", "unknown",
		"timeout", "server_lost", "reply_lost", "remote_error",
		"no_such_method", "unsupported_version", "bad_arguments", "panic", "requeue",
		"canceled", "closed", "error",
	}[r]
}

// cause pairs a result with the error that it is known by.
type cause struct {
	err error
	r   result
}

// first returns the result of the first cause that err is.
func first(err error, causes ...cause) result {
	for i := range causes {
		if errors.Is(err, causes[i].err) {
			return causes[i].r
		}
	}
	return failed
}

// sendResult tells how a send ended.
func sendResult(err error) result {
	if err == nil {
		return ok
	}
	r := first(err,
		cause{messaging.ErrNotSent, notSent},
		cause{messaging.ErrNoRoute, noRoute},
		cause{messaging.ErrRejected, rejected})
	if r == failed {
		return unknown
	}
	return r
}

// clientResult tells how a request ended for who made it.
func clientResult(err error) result {
	if err == nil {
		return ok
	}
	var remote *rpc.RemoteError
	if errors.As(err, &remote) {
		return remoteError
	}
	return first(err,
		cause{messaging.ErrTimeout, timeout},
		cause{messaging.ErrServerLost, serverLost},
		cause{messaging.ErrReplyLost, replyLost},
		cause{messaging.ErrNotSent, notSent},
		cause{messaging.ErrNoRoute, noRoute},
		cause{messaging.ErrRejected, rejected},
		cause{messaging.ErrOutcomeUnknown, unknown},
		cause{messaging.ErrClosed, closed},
		cause{context.Canceled, canceled})
}

// serverResult tells how a handler ended. An error that a nested call brought
// is the handler's failure, whatever it says of the other server.
func serverResult(err error) result {
	if err == nil {
		return ok
	}
	var panicErr *rpc.PanicError
	var nested *messaging.OpError
	switch {
	case errors.As(err, &panicErr):
		return panicked
	case errors.Is(err, rpc.ErrRequeue):
		return requeued
	case errors.As(err, &nested):
		return failed
	}
	return first(err,
		cause{rpc.ErrNoSuchMethod, noSuchMethod},
		cause{rpc.ErrUnsupportedVersion, unsupportedVersion},
		cause{rpc.ErrBadArguments, badArguments},
		cause{context.DeadlineExceeded, timeout},
		cause{context.Canceled, canceled})
}

// knows reports whether the server has the method: else its name is whatever a
// peer wrote, and no label.
func (r result) knows() bool { return r != noSuchMethod && r != unsupportedVersion }

// dialResult tells why a dial failed.
func dialResult(err error) string {
	switch {
	case errors.Is(err, messaging.ErrAuth):
		return "auth"
	case errors.Is(err, context.DeadlineExceeded):
		return timeout.String()
	case errors.Is(err, context.Canceled):
		return canceled.String()
	}
	return "connect"
}
