package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// classify returns the kind of an error, as printed, and the exit code: both
// are a contract (docs/cli.md).
//
// The order matters. A remote error may stand for a local one of the same
// meaning, such as a timeout over there. And an unreachable broker, or a
// missing listener, ends in the deadline of ctx as well.
func classify(err error) (kind string, code int) {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	if _, ok := errors.AsType[*rpc.RemoteError](err); ok {
		return "remote", 5
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return "usage", 2
	}
	switch {
	case is(messaging.ErrInvalidURL, messaging.ErrInvalidTarget, rpc.ErrInvalidVersion):
		return "usage", 2
	case is(messaging.ErrConnect, messaging.ErrAuth):
		return "connect", 6
	case is(messaging.ErrNoRoute):
		return "no_route", 4
	case is(messaging.ErrUnsupported):
		return "unsupported", 7
	case is(context.DeadlineExceeded):
		return "timeout", 3
	case is(messaging.ErrServerLost, messaging.ErrReplyLost):
		return "server_lost", 1
	case is(messaging.ErrOutcomeUnknown):
		return "outcome_unknown", 1
	case is(messaging.ErrRejected):
		return "rejected", 1
	}
	return "error", 1
}
