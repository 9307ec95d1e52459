package messaging

import (
	"context"
	"errors"
	"fmt"
)

// The outcome of a send is accepted (a nil error) or an error that matches
// exactly one of these four.
var (
	// ErrNotSent: the peer certainly does not have the message. The core
	// retries this, and of the others only a reply of unknown outcome.
	ErrNotSent = errors.New("not sent")
	// ErrRejected: the peer refused the message.
	ErrRejected = errors.New("rejected by the peer")
	// ErrNoRoute: nobody listens at the address.
	ErrNoRoute = errors.New("no route: nobody listens there")
	// ErrOutcomeUnknown: the connection was lost, or the wait ended, after the
	// message was handed over and before the peer said what became of it. It
	// may or may not be handled.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// Reasons, which come wrapped in an *OpError and next to an outcome.
var (
	ErrClosed        = errors.New("closed")                                    // used after Close
	ErrConnect       = errors.New("cannot connect")                            // no connection could be opened
	ErrAuth          = errors.New("credentials refused")                       // and so repeated only by who can change them
	ErrPermanent     = errors.New("permanent")                                 // repeating it cannot help
	ErrConnLost      = errors.New("connection lost")                           // an open connection ended
	ErrSettled       = errors.New("delivery already settled")                  //
	ErrUnsupported   = errors.New("not supported by this driver")              // a capability is absent
	ErrInvalidTarget = errors.New("invalid target")                            //
	ErrInvalidURL    = errors.New("invalid transport URL")                     //
	ErrTooLarge      = errors.New("message too large")                         //
	ErrUndecodable   = errors.New("cannot be decoded")                         // input that no codec understands
	ErrServerLost    = errors.New("the server went away")                      // a call that was accepted will not be answered
	ErrReplyLost     = errors.New("the reply address was lost")                // likewise, because the reply cannot reach us
	ErrReplyRefused  = errors.New("the caller is gone: its reply was refused") // server side

	// ErrTimeout: the deadline of a call passed without a reply. It matches
	// context.DeadlineExceeded.
	ErrTimeout = fmt.Errorf("no reply in time: %w", context.DeadlineExceeded)
)

// OpError says which operation failed, where, and why. Every error of this
// package that concerns an address is one.
type OpError struct {
	Op   string // in the gerund: "casting", "waiting for a reply"
	Addr string // an Address in words, or a host; never a password
	Err  error
}

// Error returns operation, address and reason.
func (e *OpError) Error() string {
	if e.Addr == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Addr + ": " + e.Err.Error()
}

// opError wraps err. What a driver says of the same address in other words is
// taken in, so that it is said once.
func opError(op, addr string, err error) error {
	if inner, ok := err.(*OpError); ok && inner.Addr == addr { //nolint:errorlint // only the outermost
		err = inner.Err
	}
	return &OpError{Op: op, Addr: addr, Err: err}
}

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }

// PreconditionError says that a queue or an exchange exists already, declared in
// another way. It matches ErrPermanent.
type PreconditionError struct {
	Entity   string // "queue" or "exchange"
	Name     string
	Argument string // the one that differs, such as "durable" or "x-queue-type"; empty when the peer did not say
	Reason   string // the peer's own words
}

// Error names the entity, the argument and what to do.
func (e *PreconditionError) Error() string {
	arg := e.Argument
	if arg == "" {
		arg = "an argument"
	}
	return fmt.Sprintf("%s %q exists with another value of %s: use the same options as who declared it, or delete it (peer says: %s)",
		e.Entity, e.Name, arg, e.Reason)
}

// Is makes the error match ErrPermanent.
func (e *PreconditionError) Is(target error) bool { return target == ErrPermanent }

// DrainError says that the time to drain a server or a listener was over while
// messages were in hand. The context of their handlers is cancelled then.
type DrainError struct{ Running int }

// Error says how many messages were in hand.
func (e *DrainError) Error() string {
	return fmt.Sprintf("draining ended with %d requests in hand: allow more time, or let handlers follow their context", e.Running)
}

// MemberError says what became of one member's copy of a fanout. Outcome is one
// of the four outcomes, and not what Unwrap returns: the fanout as a whole has
// one of its own.
type MemberError struct {
	Member  string // the server's name
	Outcome error
	Err     error // why
}

// Error returns member, outcome and reason.
func (e *MemberError) Error() string {
	return fmt.Sprintf("server %q: %v: %v", e.Member, e.Outcome, e.Err)
}

// Unwrap returns the reason.
func (e *MemberError) Unwrap() error { return e.Err }

// FanoutError is the outcome of a fanout that a driver without a broker could
// not hand to all members. It matches ErrNotSent only if none has a copy, and
// ErrOutcomeUnknown else: to send it again would be a duplicate for the others.
// errors.As finds the first *MemberError; Failed has all.
type FanoutError struct {
	Members int // how many there were
	Failed  []*MemberError
}

// Error returns how many failed, and how.
func (e *FanoutError) Error() string {
	text := fmt.Sprintf("%v: %d of %d members", e.outcome(), len(e.Failed), e.Members)
	for i, m := range e.Failed {
		if i == 3 {
			return text + "; …"
		}
		text += "; " + m.Error()
	}
	return text
}

// Unwrap returns the members' errors.
func (e *FanoutError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, m := range e.Failed {
		errs[i] = m
	}
	return errs
}

// Is makes the error match its outcome.
func (e *FanoutError) Is(target error) bool { return target == e.outcome() }

func (e *FanoutError) outcome() error {
	for _, m := range e.Failed {
		if len(e.Failed) < e.Members || !errors.Is(m.Outcome, ErrNotSent) {
			return ErrOutcomeUnknown
		}
	}
	return ErrNotSent
}
