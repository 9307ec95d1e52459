package notify

import (
	"context"
	"errors"

	"github.com/patchbay-go/patchbay/internal/serving"
)

// Invoker publishes notifications or handles them; Middleware wraps it. The same
// shape serves both sides: in a Notifier the innermost one gives a notification to
// the drivers, in a Listener it is a handler. It gets one notification, or, where
// it is a handler made with HandleBatch, several.
type Invoker func(ctx context.Context, ns []*Notification) error

// Middleware wraps an Invoker. It may act before and after next, call it never or
// several times, and change ctx, notifications and error. It is called
// concurrently. The first Middleware of a list is the outermost. In a listener it
// is called once for each endpoint that gets the notification, and a handler's
// panic has become a *PanicError when it sees it.
type Middleware func(next Invoker) Invoker

// chain wraps inner into all middleware, the first outermost.
func chain(inner Invoker, all []Middleware) Invoker {
	for i := len(all) - 1; i >= 0; i-- {
		inner = all[i](inner)
	}
	return inner
}

// recovered returns next with its panics turned into errors, and so those of the
// methods of an error that it returns.
func recovered(next Invoker) Invoker {
	return func(ctx context.Context, ns []*Notification) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Trace: serving.PanicTrace(0)}
			}
		}()
		if err = next(ctx, ns); err != nil {
			var p *PanicError // what is asked of it later: its methods may panic, too
			_, _, _ = err.Error(), errors.Is(err, ErrRequeue), errors.As(err, &p)
		}
		return err
	}
}
