package rpc

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/messaging"
)

// Errors of this package. The first three also come from a remote server, and
// errors.Is finds them on the caller's side then.
var (
	// ErrNoSuchMethod: the server has no such method at that version and
	// namespace, or its access policy refuses it.
	ErrNoSuchMethod = errors.New("no such method")
	// ErrUnsupportedVersion: no endpoint of the server has that namespace with
	// a version that can serve the request.
	ErrUnsupportedVersion = errors.New("unsupported version or namespace")
	// ErrBadArguments: the arguments cannot be encoded, are no JSON object, or
	// do not fit the method. A Python server's TypeError matches it: it cannot
	// be told from one raised by the method's own code.
	ErrBadArguments = errors.New("bad arguments")
	// ErrVersionCap: the client's version cap does not let the version through.
	ErrVersionCap = errors.New("version above the client's cap")
	// ErrInvalidVersion: a version is not major.minor or major.minor.revision.
	ErrInvalidVersion = errors.New("invalid version")
	// ErrRequeue: a handler that returns an error matching it, for a cast, with
	// AckLate, gives the request back to be handled again; see Requeue.
	ErrRequeue = serving.ErrRequeue
)

// Requeue returns an error that matches ErrRequeue and wraps err, which may be
// nil. It gives a cast back to the broker when the server acknowledges late.
// With AckEarly, and for calls, it is an error like any other.
func Requeue(err error) error {
	return serving.Requeue(err)
}

// RemoteError is a failure of a remote handler, in oslo.messaging's terms: the
// class of the exception and the module it is from, its text and traceback,
// and the arguments it was made with.
//
// Find one with errors.As. It unwraps to the Go error that its class stands
// for, if there is one: see ClientOptions.Errors.
type RemoteError struct {
	Class   string
	Module  string
	Message string
	Trace   []string        // lines as Python formats them, each ending in "\n"
	Args    json.RawMessage // a JSON array; nil: the message alone
	Kwargs  json.RawMessage // a JSON object; nil: none

	cause error
}

// NewError returns an error that travels from a handler to the caller with the
// module and class given:
//
//	return rpc.NewError("builtins", "ValueError", "no such size")
//
// An error that wraps it keeps module and class, and its own text is the message.
func NewError(module, class, message string) *RemoteError {
	return &RemoteError{Module: module, Class: class, Message: message}
}

// Error returns class and message.
func (e *RemoteError) Error() string {
	switch {
	case e.Class == "":
		return e.Message
	case e.Message == "":
		return e.Class
	}
	return e.Class + ": " + e.Message
}

// Unwrap returns the Go error that the class stands for, or nil.
func (e *RemoteError) Unwrap() error { return e.cause }

// RemoteClass returns module and class: see Classed.
func (e *RemoteError) RemoteClass() (module, class string) { return e.Module, e.Class }

// Classed is implemented by errors that choose under which class they travel
// to a remote caller, who may be a Python program. Others travel as class
// Error of module patchbay.
type Classed interface {
	error
	RemoteClass() (module, class string)
}

// Parameterized is implemented by Classed errors which tell the arguments that
// a Python caller makes the exception from: class(*args, **kwargs). The
// default is the message alone.
type Parameterized interface {
	Classed
	RemoteArgs() (args []any, kwargs map[string]any)
}

// ErrorMap maps "module.Class" to a Go error; its Lookup is a
// ClientOptions.Errors.
type ErrorMap map[string]error

// Lookup returns the error for the class of r, or nil.
func (m ErrorMap) Lookup(r *RemoteError) error { return m[r.Module+"."+r.Class] }

// PanicError is what a handler's panic becomes. It travels as class Panic of
// module patchbay.
type PanicError struct {
	Value any
	Trace []string // the innermost frames, formatted as Python does, without any argument's value
}

// Error returns the panic's value as text.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// RemoteClass makes a PanicError Classed.
func (e *PanicError) RemoteClass() (module, class string) { return ownModule, "Panic" }

// DrainError says that the time to drain a server was over while requests were
// in hand. The context of their handlers is cancelled then.
type DrainError = messaging.DrainError
