package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
)

// BatchError tells which casts of a batch were not accepted.
type BatchError struct {
	// Outcomes has an element for each cast, in their order: nil if it was
	// accepted, else an error with one of the outcomes of package messaging.
	Outcomes []error
	Failed   int
}

// Error tells how many failed, and why the first did.
func (e *BatchError) Error() string {
	for i, err := range e.Outcomes {
		if err != nil {
			return fmt.Sprintf("%d of %d casts were not accepted, the first is number %d: %v", e.Failed, len(e.Outcomes), i, err)
		}
	}
	return "no cast failed"
}

// Unwrap returns the outcomes that are errors.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, err := range e.Outcomes {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// CastBatch casts method once for each element of args, many at a time: as many
// are under way as the transport's window holds. It waits for all outcomes. If
// some were not accepted the error is a *BatchError; casts that ctx's end, or
// the client's timeout, did not let begin are in it as not sent.
//
// The casts go in order as far as they are sent over one connection: give the
// client an order key for that. What was surely not sent is tried again while
// others go on, so even then a retried one may come late.
func CastBatch[A any](ctx context.Context, c *Client, method string, args []A) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	receipts := make([]*messaging.Receipt, len(args))
	failed := &BatchError{Outcomes: make([]error, len(args))}
	for i, a := range args {
		receipts[i], failed.Outcomes[i] = c.StartCast(ctx, method, a)
	}
	for i, r := range receipts {
		if r != nil {
			failed.Outcomes[i] = r.Wait(ctx)
			if errors.Is(failed.Outcomes[i], messaging.ErrNotSent) && c.send.Retry >= 0 {
				failed.Outcomes[i] = c.afterOne().Cast(ctx, method, args[i])
			}
		}
		if failed.Outcomes[i] != nil {
			failed.Failed++
		}
	}
	if failed.Failed == 0 {
		return nil
	}
	return c.opError(c.castPattern(), method, failed)
}

// afterOne returns the client for a cast that was handed over once, and not sent
// after all.
func (c *Client) afterOne() *Client {
	switch c.send.Retry {
	case 0: // until ctx ends
		return c
	case 1: // this is the one
		return c.Prepare(WithRetry(-1))
	}
	return c.Prepare(WithRetry(c.send.Retry - 1))
}
