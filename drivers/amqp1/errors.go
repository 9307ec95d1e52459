package amqp1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// explain turns what the peer or the client library said into the errors of
// package messaging, keeping the words. It adds no outcome of a send and no
// operation: that is the caller's.
func explain(err error) error {
	var said *amqp.Error
	if err == nil || !errors.As(err, &said) {
		return err
	}
	words := fmt.Errorf("%s", said.Condition)
	if said.Description != "" {
		words = fmt.Errorf("%s: %s", said.Condition, said.Description)
	}
	switch said.Condition {
	case amqp.ErrCondUnauthorizedAccess:
		return joined(messaging.ErrAuth, joined(messaging.ErrPermanent, words))
	case amqp.ErrCondNotImplemented:
		return joined(messaging.ErrUnsupported, joined(messaging.ErrPermanent, words))
	case amqp.ErrCondPreconditionFailed, amqp.ErrCondInvalidField, amqp.ErrCondNotAllowed:
		return joined(messaging.ErrPermanent, words)
	case amqp.ErrCondMessageSizeExceeded:
		return joined(messaging.ErrTooLarge, words)
	}
	return words
}

// notFound reports whether the peer has no node of that address. Broker-J 9.2 fails over
// one with a "%" when it says so: it takes what it says for a format.
func notFound(err error, address string) bool {
	var said *amqp.Error
	if !errors.As(err, &said) {
		return false
	}
	switch said.Condition {
	case amqp.ErrCondNotFound, amqp.ErrCondResourceDeleted:
		return true
	case amqp.ErrCondInternalError:
		return strings.Contains(address, "%")
	}
	return false
}

// explainDial turns the failure of an attempt to connect into what Driver.Dial
// promises. The library has plain errors only for what goes wrong before a
// connection is open.
func explainDial(ctx context.Context, err error) error {
	var (
		cert *tls.CertificateVerificationError
		tlsE tls.RecordHeaderError
		said *amqp.Error
	)
	text := err.Error()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &cert), errors.As(err, &tlsE):
		err = joined(messaging.ErrPermanent, err)
	case errors.As(err, &said):
		err = explain(err)
	case strings.Contains(text, "auth failed with code 0x1"):
		err = joined(messaging.ErrAuth, joined(messaging.ErrPermanent, errors.New("the peer refuses them")))
	case strings.Contains(text, "no supported auth mechanism"):
		err = joined(messaging.ErrAuth, joined(messaging.ErrPermanent, errors.New("the peer offers none of the mechanisms that are allowed (option sasl_mechanisms)")))
	case strings.Contains(text, "*frames.PerformClose"), errors.Is(err, io.EOF):
		err = errors.New("the peer ended the handshake: is it up, does the virtual host exist, and may the user use it?")
	case otherProtocol(text):
		err = joined(messaging.ErrPermanent, fmt.Errorf("%w: is it a port for AMQP 1.0?", err))
	}
	return joined(messaging.ErrConnect, err)
}

// otherProtocol reports whether a text says that the peer speaks something else. The
// names of hosts, and others' errors, may have the word, too.
func otherProtocol(text string) bool {
	for _, words := range []string{"unexpected protocol", "unknown protocol", "breaks the protocol", "tls: protocol"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// joined returns an error that reads "kind: reason" and matches both.
func joined(kind, reason error) error {
	if reason == nil || errors.Is(kind, reason) {
		return kind
	}
	return fmt.Errorf("%w: %w", kind, reason)
}
