// Package wire holds the wire formats: codecs that map an envelope to a message
// and back. They are pure: no I/O, no clock, no state.
//
// [Oslo] is oslo.messaging's format, so that a Go service can join a bus of
// Python services. [Native] keeps the metadata in the properties that every
// messaging protocol has, and its body is the payload alone. docs/wire.md
// describes both.
//
// Encoding allocates nothing once the buffers of the message have grown, but
// for the header values of Native that are made of numbers or of a context.
// Decoding passes over the payload without decoding it: arguments and results
// stay JSON text, so that integers keep all of their digits.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// Bounds of a request's context, so that looking for a key's earlier entry is
// cheap whatever a peer sends.
const (
	maxContext    = 1000 // entries
	maxContextKey = 1024 // bytes
)

// maxID bounds ids and reply addresses, in bytes: they are remembered, logged
// and sent back. Nobody makes longer ones.
const maxID = 1024

// bound returns the limit to apply for maxBody, where 0 and less mean none.
func bound(maxBody int64) int64 {
	if maxBody <= 0 || maxBody == math.MaxInt64 {
		return math.MaxInt64 - 1
	}
	return maxBody
}

func undecodable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", messaging.ErrUndecodable, fmt.Sprintf(format, args...))
}

// isType reports whether a content type is the wanted one, with or without
// parameters.
func isType(contentType, want string) bool {
	if contentType == want {
		return true
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), want)
}

// arena holds the short strings of one envelope in few allocations.
type arena struct{ b strings.Builder }

func (a *arena) add(s []byte) string {
	if a.b.Cap() == 0 {
		a.b.Grow(max(256, len(s)))
	}
	start := a.b.Len()
	a.b.Write(s)
	return a.b.String()[start:]
}

// text returns what a JSON value says: the string that it holds, nothing for
// null, and else its JSON text, so that a peer that sends a version as a number
// is understood.
func text(value []byte) []byte {
	switch {
	case len(value) == 0 || value[0] == 'n':
		return nil
	case value[0] == '"':
		return unquoted(value[1 : len(value)-1])
	}
	return value
}

// addContext adds an entry to e's context. Of entries with the same key the
// last counts.
func addContext(e *messaging.Envelope, a *arena, key, value []byte) error {
	if len(key) > maxContextKey {
		return undecodable("a context key of %d bytes, %d are possible", len(key), maxContextKey)
	}
	for i := range e.Context {
		if e.Context[i].Key == string(key) {
			e.Context[i].Value = value
			return nil
		}
	}
	if len(e.Context) == maxContext {
		return undecodable("more than %d context entries", maxContext)
	}
	if e.Context == nil {
		e.Context = make([]messaging.ContextValue, 0, 8)
	}
	e.Context = append(e.Context, messaging.ContextValue{Key: a.add(key), Value: value})
	return nil
}

// checkIDs returns an error that matches ErrUndecodable if an id of e is absurd.
func checkIDs(e *messaging.Envelope) error {
	for _, id := range [...]string{e.ID, e.CallID, e.ReplyTo} {
		if len(id) > maxID {
			return undecodable("an id or a reply address of %d bytes, %d are possible", len(id), maxID)
		}
	}
	return nil
}

// finishRequest checks and completes a decoded request.
func finishRequest(e *messaging.Envelope) error {
	if err := checkIDs(e); err != nil {
		return err
	}
	if e.CallID == "" || e.ReplyTo == "" { // without both it cannot be answered: a cast
		e.CallID, e.ReplyTo, e.Monitor = "", "", 0
		if e.Method == "" {
			return undecodable("a request without a method")
		}
	}
	if e.Version == "" {
		e.Version = "1.0"
	}
	if len(e.Body) == 0 {
		e.Body = []byte("{}")
	}
	return nil
}

// finishReply checks and completes a decoded reply. A heartbeat has no body; what
// has one without being final is the first of the two messages that oslo.messaging
// once answered with.
func finishReply(e *messaging.Envelope) error {
	if err := checkIDs(e); err != nil {
		return err
	}
	switch {
	case e.CallID == "":
		return undecodable("a reply without the id of its call")
	case len(e.Body) == 0 && e.Final:
		e.Body = []byte("null")
	case string(e.Body) == "null" && !e.Final:
		e.Body = nil
	}
	return nil
}

// members returns the inside of the text of a JSON object, without blanks
// around it.
func members(object []byte) ([]byte, error) {
	object = bytes.TrimSpace(object)
	if n := len(object); n >= 2 && object[0] == '{' && object[n-1] == '}' {
		return bytes.TrimSpace(object[1 : n-1]), nil
	}
	return nil, errors.New("encoding a notification: its body is not a JSON object")
}
