package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/patchbay-go/patchbay/messaging"
)

// The errors of a driver are an outcome and a reason: the core adds which
// operation failed and at which address.

var (
	errRefused = errors.New("connection refused")
	errCut     = fmt.Errorf("%w: the broker cut it", messaging.ErrConnLost)
	errRestart = fmt.Errorf("%w: the broker restarts", messaging.ErrConnLost)
)

func connectError(reason error) error { return fmt.Errorf("%w: %w", messaging.ErrConnect, reason) }

// notSent is the error of a send that certainly did not happen.
func notSent(reason error) error { return fmt.Errorf("%w: %w", messaging.ErrNotSent, reason) }

// waitError is why a wait for the broker ended.
func waitError(ctx context.Context, what string) error {
	return fmt.Errorf("%s: %w", what, context.Cause(ctx))
}

// lostError is what the end of a connection is to those who were using it. A
// nil reason means that it is being closed.
func lostError(reason error) error {
	if errors.Is(reason, messaging.ErrConnLost) {
		return reason
	}
	return fmt.Errorf("%w: %w", messaging.ErrConnLost, messaging.ErrClosed)
}

// checkSubscription finds what no repetition would make possible.
func checkSubscription(sub *messaging.Subscription) error {
	isFanout := func(a messaging.Address) bool { return a.Fanout }
	switch {
	case (sub.Reply == "") == (len(sub.Sources) == 0):
		return fmt.Errorf("%w: a subscription has either sources or a reply address", messaging.ErrPermanent)
	case sub.Prefetch < 1:
		return fmt.Errorf("%w: a subscription needs a prefetch of 1 at least", messaging.ErrPermanent)
	case sub.Instance == "" && slices.ContainsFunc(sub.Sources, isFanout):
		return fmt.Errorf("%w: a subscription to a fanout needs an instance", messaging.ErrPermanent)
	}
	return nil
}
