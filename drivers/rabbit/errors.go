package rabbit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// errTransientForbidden is what a broker says, by closing the connection, which
// no longer permits oslo.messaging's default queues.
var errTransientForbidden = errors.New("the broker forbids transient queues that are not exclusive: add amqp_durable_queues=true " +
	"(or rabbit_quorum_queue=true) to the URL, and to what the peers use; " +
	"if they have rabbit_transient_quorum_queue=true, add that too")

// explain turns what the broker or the client library said into the errors of
// package messaging, keeping the words. It adds no outcome of a send and no
// operation: that is the caller's.
func explain(err error) error {
	var e *amqp.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &e):
		return err
	case !e.Server:
		return joined(messaging.ErrConnLost, errors.New(e.Reason))
	}
	said := fmt.Errorf("%d %s", e.Code, e.Reason)
	switch e.Code {
	case amqp.PreconditionFailed:
		if p := parsePrecondition(e.Reason); p != nil {
			return p
		}
		return joined(messaging.ErrPermanent, said)
	case amqp.AccessRefused:
		return joined(messaging.ErrAuth, joined(messaging.ErrPermanent, said))
	case amqp.NotImplemented:
		return joined(messaging.ErrUnsupported, joined(messaging.ErrPermanent, said))
	case amqp.NotAllowed:
		return explainNotAllowed(e.Reason, said)
	case amqp.InternalError:
		if strings.Contains(e.Reason, "transient_nonexcl_queues") {
			return joined(messaging.ErrPermanent, errTransientForbidden)
		}
	}
	return said
}

// explainNotAllowed tells what somebody must change from a limit of
// connections or a virtual host that is down, both of which pass.
func explainNotAllowed(reason string, said error) error {
	switch {
	case !strings.Contains(reason, "vhost"):
		return said
	case strings.Contains(reason, "not found"):
		return joined(messaging.ErrPermanent, said)
	case strings.Contains(reason, "refused"):
		return joined(messaging.ErrAuth, joined(messaging.ErrPermanent, said))
	}
	return said
}

// parsePrecondition reads RabbitMQ's words about an entity that exists with
// other properties:
//
//	PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'
//	PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'q' in vhost '/'
func parsePrecondition(reason string) *messaging.PreconditionError {
	_, rest, ok := strings.Cut(reason, "inequivalent arg '")
	if !ok {
		if _, rest, ok = strings.Cut(reason, "invalid property '"); !ok {
			return nil
		}
	}
	argument, rest, ok := strings.Cut(rest, "' for ")
	if !ok {
		return nil
	}
	entity, rest, ok := strings.Cut(rest, " '")
	if !ok {
		return nil
	}
	end := strings.LastIndex(rest, "' in vhost '") // a name may hold anything
	if end < 0 {
		return nil
	}
	return &messaging.PreconditionError{Entity: entity, Name: rest[:end], Argument: argument, Reason: reason}
}

// explainDial turns the failure of an attempt to connect into what Driver.Dial promises.
func explainDial(ctx context.Context, err error) error {
	var (
		said *amqp.Error
		cert *tls.CertificateVerificationError
		tlsE tls.RecordHeaderError
	)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, amqp.ErrSASL): // the library's own, too: the broker is not asked
		err = joined(messaging.ErrAuth, joined(messaging.ErrPermanent,
			errors.New("the broker offers none of the login mechanisms (option rabbit_login_method)")))
	case errors.As(err, &said) && !said.Server:
		// The library assumes wrong credentials or a missing virtual host when
		// the peer hangs up; the broker would have said so (see login.Response).
		err = errors.New("the peer ended the handshake: is it RabbitMQ's AMQP port, and up?")
	case said != nil:
		err = explain(err)
	case errors.As(err, &cert), errors.As(err, &tlsE):
		err = joined(messaging.ErrPermanent, err)
	}
	return joined(messaging.ErrConnect, err)
}

// joined returns an error that reads "kind: reason" and matches both.
func joined(kind, reason error) error {
	if reason == nil || errors.Is(kind, reason) {
		return kind
	}
	return fmt.Errorf("%w: %w", kind, reason)
}
