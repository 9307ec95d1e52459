package messaging

import (
	"context"
	"fmt"
	"time"
)

// This file is the contract between the core and a driver. docs/driver-guide.md
// walks through it, and package conformance proves it.
//
// Drivers know addresses, never RPC. Drivers report, the core retries: a driver
// never resends, redials or waits for a broker to come back. What a driver does
// repair is what broke inside a living connection: a channel, a link, a
// consumer that the broker cancelled.

// Driver opens connections to one kind of peer. It is safe for concurrent use
// and holds no connection itself.
type Driver interface {
	// Dial opens one connection to ep.Host and returns when it can be used. It
	// makes one attempt, under ctx, and asks ep.Credentials once for it; a
	// SingleConn driver asks again when it opens another link. Its
	// errors match ErrConnect; also ErrAuth when the peer refused the
	// credentials, and ErrPermanent when no later attempt can succeed without
	// somebody changing something (credentials, certificate, virtual host).
	Dial(ctx context.Context, ep Endpoint) (Conn, error)

	// SingleConn reports whether one Conn serves a whole Transport, sending and
	// listening alike, and reaches all of Endpoint.Hosts at once, as brokerless
	// drivers do. Else the core never sends and listens on the same Conn, unless
	// the driver is a Sharer.
	SingleConn() bool
}

// Sharer is an optional ability of a Driver with a broker: if ShareConn reports
// true, what listens shares the transport's first Conn for sending. It does not
// change. A driver asks its user: a broker that stops reading from Conns which
// send does not read their acknowledgements then, either.
type Sharer interface {
	ShareConn() bool
}

// Endpoint says where and as whom to dial.
type Endpoint struct {
	Host        HostPort
	Hosts       []HostPort                                 // all hosts; only for SingleConn drivers
	Name        string                                     // what to call the connection in the peer's management views
	Credentials func(context.Context) (Credentials, error) // never nil; asked at every dial, so that they can rotate
	Links       Links                                      // told of the links inside the Conn; only for SingleConn drivers, nil for others
}

// Links is told what becomes of the links that one Conn of a SingleConn driver
// consists of: the core counts and traces them as it does connections. Its
// methods are safe for concurrent use and do not block.
type Links interface {
	// Dialed is told that an attempt to open a link ended, the how manyth since
	// the last success it was, and, unless it succeeded, why it failed: an error
	// that matches ErrNoRoute says that nobody is there at the moment.
	Dialed(host string, attempt int, took time.Duration, err error)
	// Up is told that a link can be used, whichever side opened it.
	Up()
	// Down is told that a link ended that was up: nil says that either side
	// closed it in good order.
	Down(host string, err error)
}

// Credentials are a user name and a password. Its String hides the password.
type Credentials struct{ Username, Password string }

// String returns the user name, and "***" for a password.
func (c Credentials) String() string {
	if c.Password == "" {
		return c.Username
	}
	return c.Username + ":***"
}

// Format keeps the password out of %v, %+v, %#v and every other verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// Completion is told the outcome of a send exactly once if, and only if, Send
// returned nil. Complete may be called before Send has returned, on the sender's
// own goroutine, or later from one of the driver; it must not block and must not
// call the driver. The outcome is nil (accepted), or an error that matches exactly
// one of ErrRejected, ErrNoRoute, ErrNotSent and ErrOutcomeUnknown.
type Completion interface{ Complete(err error) }

// Conn is one connection. It is safe for concurrent use and dies once: after
// Done is closed nothing revives it. A lost channel or link, or one peer of a
// SingleConn, is repaired inside; the sends that were pending on it get
// ErrOutcomeUnknown.
//
// Every wait ends with its ctx. Where a broker owes an answer, it ends without that,
// too: one that leaves a request, or all outcomes, unanswered for longer than a limit
// of the driver's counts as lost, although it lives. While it says that it takes
// nothing, it owes none.
type Conn interface {
	// Send hands m to the peer. It waits, under ctx, for the connection's
	// window and its blocked state only, never for the network beyond. An error
	// matches ErrNotSent (certainly not, and c is never called) or
	// ErrOutcomeUnknown, and wraps ctx's cause when that ended the wait;
	// ErrTooLarge, ErrUnsupported and *PreconditionError come with ErrNotSent.
	// With c nil no outcome is wanted. m may be reused once Send returned.
	Send(ctx context.Context, to Address, m *Message, c Completion) error

	// Listen subscribes. Messages arrive that are sent after it has returned by this
	// Conn, or by those that are dialled then. It fails with ErrConnLost or, when
	// repeating it cannot help, with ErrPermanent (a *PreconditionError is one).
	Listen(ctx context.Context, sub Subscription) (Listener, error)

	// Capabilities returns what this peer can do. It does not change while the
	// Conn lives.
	Capabilities() Capabilities

	// Done is closed when the connection is lost or closed.
	Done() <-chan struct{}

	// Err returns why Done is closed: ErrClosed after Close, else an error
	// that matches ErrConnLost. It is nil before.
	Err() error

	// Close ends the connection: it lets pending outcomes arrive until ctx
	// ends, then completes the rest as unknown, and returns when every
	// goroutine of the connection has ended. It may be called again, and
	// concurrently.
	Close(ctx context.Context) error
}

// Awaiter is an optional ability of a Conn of a brokerless driver: it waits
// until at least that many members can be reached at the address. It replaces
// the sleep that clients would need which were there before the server.
type Awaiter interface {
	Await(ctx context.Context, to Address, members int) error
}

// Subscription says what a Listener receives.
type Subscription struct {
	Sources  []Address
	Group    string // notifications: a pool, one queue bound to all sources, shared by all with the same Group. Needs Capabilities.Groups
	Tap      bool   // notifications, fanouts: a queue of this listener alone, bound to all sources, that gets a copy of each message and goes with the listener; it is bounded, and drops the oldest rather than refuse a sender. Needs Capabilities.Taps
	Reply    string // reply listeners only (no Sources): the wanted address; Listener.Address is the answer
	Instance string // unique and stable: the same after a reconnect, so that private queues (fanout) get the same name
	Prefetch int    // unsettled deliveries at most, for each source; never 0

	// AtMostOnce says that the receiver settles before it handles. A driver which
	// itself gives messages again after a lost link does not give those again that
	// the receiver may have begun; what a broker does is the broker's affair.
	AtMostOnce bool

	// Deliver may be called with a delivery instead of giving it to Poll, on the
	// goroutine that received it, while nothing else waits for Poll: a driver for
	// which that saves a hand-over between goroutines does so, the others ignore
	// it. False says that Poll shall return the delivery after all; a reply is
	// always taken. It does not block. It may settle this delivery, and calls
	// nothing else of the driver. It may be called before Listen has returned, and
	// until Close has.
	Deliver func(d *Delivery) bool
}

// Listener receives. It belongs to its Conn and ends with it.
type Listener interface {
	// Poll returns the next delivery. It may be called concurrently. It
	// returns ErrConnLost when the connection is cut and ErrClosed after Stop
	// or Close. A cancelled Poll returns ctx's error and loses nothing.
	Poll(ctx context.Context) (*Delivery, error)

	// Address returns the reply address of a reply listener, and "" otherwise.
	Address() string

	// Stop ends the subscription: no new deliveries, and those which were
	// prefetched but not polled go back to the peer for somebody else, as
	// though never delivered. It returns their number. Deliveries that were
	// polled can still be settled. Poll returns ErrClosed from then on.
	Stop(ctx context.Context) (returned int, err error)

	// Close frees everything, private queues included. It is called after the
	// last settle; it implies Stop. Idempotent.
	Close(ctx context.Context) error
}

// Capabilities are facts about a peer, proven by the conformance suite when
// they are declared. What needs one that is absent fails with ErrUnsupported
// before anything is sent.
type Capabilities struct {
	Durable       bool  `json:"durable"`        // Message.Durable in a durable queue survives a restart of the broker
	Ordered       bool  `json:"ordered"`        // messages of one OrderKey to one consumer arrive in the order they were sent
	Requeue       bool  `json:"requeue"`        // Outcome Requeue
	Mandatory     bool  `json:"mandatory"`      // Message.Mandatory for one server or any server of a topic
	TTL           bool  `json:"ttl"`            // Message.TTL
	Priority      bool  `json:"priority"`       // Message.Priority
	Groups        bool  `json:"groups"`         // Subscription.Group
	Taps          bool  `json:"taps"`           // Subscription.Tap
	OfflineCast   bool  `json:"offline_cast"`   // a cast to a topic whose servers are away waits for them
	DeadLetter    bool  `json:"dead_letter"`    // Outcome Drop can be kept aside by the peer
	DeliveryCount bool  `json:"delivery_count"` // Delivery.Count is known
	StableReply   bool  `json:"stable_reply"`   // a reply address survives the loss of its connection
	Exchanges     bool  `json:"exchanges"`      // the same topic in two exchanges is two topics; oslo.messaging's queue names are not scoped
	MaxMessage    int64 `json:"max_message"`    // bytes of body; 0: no limit known
}
