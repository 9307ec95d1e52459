package zmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/messaging"
)

// The errors of a driver are an outcome and a reason: the core adds which
// operation failed and at which address.

var (
	errLeaving = fmt.Errorf("%w: this node is closing", messaging.ErrClosed)
	errSelf    = errors.New("it is this node")
	errAgain   = errors.New("it is a node that is linked already")
	errLeft    = errors.New("the server left") // in good order
	errExpired = fmt.Errorf("%w: it expired while it waited for a server with room", messaging.ErrPermanent)
	errBehind  = errors.New("it is behind: as much as is kept for it waits already")
)

// notSent is the error of a send that certainly did not happen.
func notSent(reason error) error { return fmt.Errorf("%w: %w", messaging.ErrNotSent, reason) }

// lostError is the end of a link to those who used it.
func lostError(reason error) error {
	if errors.Is(reason, messaging.ErrConnLost) {
		return reason
	}
	return fmt.Errorf("%w: %w", messaging.ErrConnLost, reason)
}

// refusedReply is the outcome of a reply whose caller is not there any more: a
// link does not come back, so no later attempt can find it.
func refusedReply(why string) error {
	return fmt.Errorf("%w: %w: %s", messaging.ErrNoRoute, messaging.ErrReplyRefused, why)
}

// isRefused reports whether an error of a link means that the credentials, or the
// certificate, were not accepted, or that the peers want different ones.
func isRefused(err error) bool {
	if errors.Is(err, link.ErrAuth) || errors.Is(err, link.ErrMechanism) {
		return true
	}
	// The type of a TLS alert is not exported, but all that are about a certificate
	// say so.
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error" && strings.Contains(remote.Err.Error(), "certificate")
}

// nobodyThere marks the usual: an endpoint where no node is at the moment.
func nobodyThere(err error) error {
	if err != nil && link.IsAbsent(err) {
		return fmt.Errorf("%w: %w", messaging.ErrNoRoute, err)
	}
	return err
}

// explainDial maps an error of a link that could not be opened.
func explainDial(ctx context.Context, err error) error {
	var unknown *tls.CertificateVerificationError
	switch {
	case isRefused(err):
		return fmt.Errorf("%w: %w: %w", messaging.ErrAuth, messaging.ErrPermanent, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %w", messaging.ErrPermanent, err)
	case ctx.Err() != nil:
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// checkSubscription finds what no repetition would make possible.
func checkSubscription(sub *messaging.Subscription) error {
	isFanout := func(a messaging.Address) bool { return a.Fanout }
	switch {
	case (sub.Reply == "") == (len(sub.Sources) == 0):
		return fmt.Errorf("%w: a subscription has either sources or a reply address", messaging.ErrPermanent)
	case sub.Prefetch < 1:
		return fmt.Errorf("%w: a subscription needs a prefetch of 1 at least", messaging.ErrPermanent)
	case sub.Group != "" && slices.ContainsFunc(sub.Sources, isFanout):
		return fmt.Errorf("%w: a fanout cannot be shared by a group", messaging.ErrPermanent)
	}
	return nil
}
