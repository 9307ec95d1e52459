package notify

import (
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/messaging"
)

// Errors of this package.
var (
	// ErrBadPayload: the payload cannot be encoded, or does not fit what the
	// handler takes.
	ErrBadPayload = errors.New("bad payload")
	// ErrRequeue: what a handler returns to have the notification again later,
	// without calling that a failure. Every other error does the same, and is
	// logged.
	ErrRequeue = serving.ErrRequeue
	// ErrQueueFull: a Queue had no room.
	ErrQueueFull = errors.New("the queue of notifications is full")
)

// Requeue returns an error that matches ErrRequeue and wraps err, which may be
// nil.
func Requeue(err error) error { return serving.Requeue(err) }

// DrainError says that the time to drain a listener was over while notifications
// were in hand. The context of their handlers is cancelled then.
type DrainError = messaging.DrainError

// PanicError is what a handler's panic becomes, and in a Queue one of a driver.
type PanicError struct {
	Value any
	Trace []string // the innermost frames, without any argument's value
}

// Error returns the panic's value as text.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
