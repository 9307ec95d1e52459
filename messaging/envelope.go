package messaging

import "time"

// ContextValue is one entry of a request's context: a key and a JSON value.
type ContextValue struct {
	Key   string
	Value []byte // JSON text; it may hold Python's NaN, Infinity and -Infinity
}

// Envelope is what the core and package rpc understand of a message. A Codec
// maps it to a Message and back. Slices of a decoded Envelope may alias the
// message's body.
type Envelope struct {
	Kind Kind
	ID   string // unique for each message; duplicates are found by it

	// Requests. CallID and ReplyTo are set on a call and empty on a cast.
	CallID    string
	ReplyTo   string
	Method    string
	Namespace string // empty: none (oslo.messaging's null)
	Version   string // empty: not said; a decoder gives "1.0" then, as oslo.messaging does
	Context   []ContextValue
	Timeout   time.Duration // what is left of the caller's deadline; 0: unknown, or the wire cannot carry it
	Monitor   time.Duration // the caller wants heartbeats, one every half of this; 0: none

	// Replies: CallID is that of the call. The ReplyTo of a heartbeat is where
	// the caller can say that it does not wait any more.
	Failed bool // Body is a failure, not a result
	Final  bool // the call is over; false: a heartbeat

	// Notifications.
	Bare bool // format v1: without the outer envelope

	// Body is JSON text, and may hold Python's NaN, Infinity and -Infinity: of
	// a request the arguments (an object), of a reply the result or the failure
	// object {class, module, message, tb, args, kwargs}, of a notification the
	// object {message_id, publisher_id, event_type, priority, payload, timestamp}.
	Body []byte
}

// Codec maps an Envelope to a Message and back. It is pure: no I/O, no clock,
// no state, safe for concurrent use.
type Codec interface {
	// Name returns the name of the wire format, such as "oslo".
	Name() string

	// Encode writes e into m: ID, CorrelationID, ReplyTo, ContentType,
	// ContentEncoding, Headers and Body, appending to m's buffers. It keeps
	// nothing of e. Other fields of m are the core's.
	Encode(e *Envelope, m *Message) error

	// Accepts reports whether m, by its content type, is of this format.
	Accepts(m *Message) bool

	// Decode reads m into e. The caller sets e.Kind to the kind of the source;
	// all other fields are overwritten. e may alias m's strings and Body, but
	// e.ID, which is remembered, does not alias Body. An
	// error matches ErrUndecodable and says why without quoting the payload.
	// It never panics, nests without bound or allocates by an announced size.
	Decode(m *Message, e *Envelope) error
}
