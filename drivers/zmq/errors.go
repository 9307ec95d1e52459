package zmq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	errLeaving   = fmt.Errorf("%w: this node is closing", messaging.ErrClosed)
	errSelf      = errors.New("it is this node")
	errAgain     = errors.New("it is a node that is linked already")
	errLeft      = errors.New("the server left") // in good order
	errGivenBack = errors.New("it gave the request back")
	errExpired   = fmt.Errorf("%w: it expired while it waited for a server with room: %w", messaging.ErrPermanent, context.DeadlineExceeded)
	errBehind    = errors.New("it is behind: as much as is kept for it waits already")
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

// isUntrusted reports whether the peer does not accept our certificate. The type of
// a TLS alert is not exported, but all that are about a certificate say so.
func isUntrusted(err error) bool {
	remote, ok := errors.AsType[*net.OpError](err)
	return ok && remote.Op == "remote error" && strings.Contains(remote.Err.Error(), "certificate")
}

// nobodyThere marks the usual: an endpoint where no node is at the moment.
func nobodyThere(err error) error {
	if err != nil && link.IsAbsent(err) {
		return fmt.Errorf("%w: %w", messaging.ErrNoRoute, err)
	}
	return err
}

// explainDial maps an error of a link that we could not open, and adds what to do.
func explainDial(err error) error {
	switch {
	case errors.Is(err, link.ErrMechanism):
		return fmt.Errorf("%w: %w: %w: all nodes must have the same user and password, or none", messaging.ErrAuth, messaging.ErrPermanent, err)
	case errors.Is(err, link.ErrAuth):
		return fmt.Errorf("%w: %w: %w", messaging.ErrAuth, messaging.ErrPermanent, err)
	case isUntrusted(err):
		return fmt.Errorf("%w: %w: %w: ssl_cert_file and ssl_key_file must be a certificate, for clients too, that the peer's ssl_client_ca_file has signed",
			messaging.ErrAuth, messaging.ErrPermanent, err)
	case isA[x509.UnknownAuthorityError](err):
		return fmt.Errorf("%w: %w: ssl_ca_file must hold the authority that signed the peer's certificate", messaging.ErrPermanent, err)
	case isA[x509.HostnameError](err):
		return fmt.Errorf("%w: %w: the peer's certificate must have the name that the URL, or discovery, calls it by; ssl_enforce_hostname_verification=false takes any name",
			messaging.ErrPermanent, err)
	case isA[tls.RecordHeaderError](err):
		return fmt.Errorf("%w: %w: the peer does not speak TLS: all nodes must have the same scheme", messaging.ErrPermanent, err)
	case errors.Is(err, link.ErrTLS):
		return fmt.Errorf("%w: %w", messaging.ErrPermanent, err)
	case errors.Is(err, link.ErrHungUp):
		return fmt.Errorf("%w: it is a proxy with nobody behind it, or it wants TLS and we do not, or the other way round", err)
	}
	return err
}

// explainStranger adds to an error of a link that somebody could not open to us
// what is likely to be wrong.
func explainStranger(err error) error {
	switch {
	case isUntrusted(err):
		return fmt.Errorf("%w: the peer does not accept our certificate: its ssl_ca_file has not signed it, or it calls us by another name", err)
	case isA[tls.RecordHeaderError](err):
		return fmt.Errorf("%w: the peer speaks no TLS: all nodes must have the same scheme", err)
	}
	return err
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
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
