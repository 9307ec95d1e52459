package notify

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/internal/jsontext"
	"github.com/patchbay-go/patchbay/messaging"
)

// Priority is how much a notification matters, and part of its address: who
// listens to errors does not get what is below.
type Priority string

// The priorities of oslo.messaging. There are no others.
const (
	Audit    Priority = "audit"
	Debug    Priority = "debug"
	Info     Priority = "info"
	Warn     Priority = "warn"
	Error    Priority = "error"
	Critical Priority = "critical"
	Sample   Priority = "sample" // a measurement
)

// Priorities returns all priorities.
func Priorities() []Priority { return []Priority{Audit, Debug, Info, Warn, Error, Critical, Sample} }

// ErrInvalidPriority says that a priority is none of Priorities.
var ErrInvalidPriority = errors.New("invalid priority")

// check reports whether there is such a priority.
func (p Priority) check() error {
	if slices.Contains(Priorities(), p) {
		return nil
	}
	return fmt.Errorf("%w: %.40q, there are %v", ErrInvalidPriority, string(p), Priorities())
}

// Notification is one notification. One that was received belongs to its handler
// until that returns; Payload and the values of Context are read-only.
type Notification struct {
	Priority    Priority
	EventType   string // what happened: "compute.instance.create.end"
	PublisherID string // where: "compute.host1"
	Payload     json.RawMessage
	MessageID   string // of this notification, the same in all topics: a UUID
	Timestamp   string // as it travels, which Time parses
	Context     []messaging.ContextValue

	// Of one that was received.
	Target      messaging.Target // of the listener's, that it came from
	Redelivered bool             // the broker says that it was delivered before
	Count       int              // earlier deliveries; -1: unknown
}

// timeLayout is that of Python's str(datetime), in UTC and without a zone.
const timeLayout = "2006-01-02 15:04:05.000000"

// Time parses the timestamp, which oslo.messaging writes in UTC without saying so.
func (n *Notification) Time() (time.Time, error) {
	s := strings.Replace(n.Timestamp, "T", " ", 1)
	for _, layout := range [...]string{"2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00"} { // Parse accepts fractions
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("parsing the timestamp of a notification: %.40q is none", n.Timestamp)
}

// Decode decodes the payload, as a handler's is: see ListenerOptions.Encoding.
func (n *Notification) Decode(into any) error {
	if err := jsontext.Unmarshal(n.Payload, into); err != nil {
		return fmt.Errorf("decoding the payload of %.100q: %w", n.EventType, err)
	}
	return nil
}

// Value decodes the entry of the context with that key, and reports whether there
// is one.
func (n *Notification) Value(key string, into any) (bool, error) {
	for _, e := range n.Context {
		if e.Key == key {
			if err := jsontext.Unmarshal(e.Value, into); err != nil {
				return true, fmt.Errorf("decoding the context %.100q: %w", key, err)
			}
			return true, nil
		}
	}
	return false, nil
}

// complete fills in what a notification has from its birth.
func (n *Notification) complete() {
	n.MessageID = newUUID()
	n.Timestamp = time.Now().UTC().Format(timeLayout)
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// body returns the object that travels. Its order is oslo.messaging's.
func (n *Notification) body() []byte {
	b := make([]byte, 0, len(n.Payload)+256)
	for _, member := range [...]struct{ name, value string }{
		{`{"message_id": `, n.MessageID},
		{`, "publisher_id": `, n.PublisherID},
		{`, "event_type": `, n.EventType},
		{`, "priority": `, strings.ToUpper(string(n.Priority))},
	} {
		b = jsontext.AppendString(append(b, member.name...), member.value)
	}
	b = append(append(b, `, "payload": `...), orNull(n.Payload)...)
	b = jsontext.AppendString(append(b, `, "timestamp": `...), n.Timestamp)
	return append(b, '}')
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// received is a notification with the members of its body as they came, which a
// Filter must tell from texts.
type received struct {
	Notification
	in                                      *messaging.Incoming
	publisherID, eventType, id, at, payload json.RawMessage
}

// read makes a received of a message. It cannot fail: the codec let an object
// through, and what is missing or of another type is left empty.
func read(in *messaging.Incoming, source *source) *received {
	r := &received{in: in}
	r.Context, r.Target, r.Redelivered, r.Count = in.Context, source.target, in.Redelivered, in.Count
	r.Priority = source.priority
	jsontext.Members(in.Body, func(name string, value json.RawMessage) {
		switch name {
		case "message_id":
			r.id, r.MessageID = value, jsontext.Text(value)
		case "publisher_id":
			r.publisherID, r.PublisherID = value, jsontext.Text(value)
		case "event_type":
			r.eventType, r.EventType = value, jsontext.Text(value)
		case "priority":
			r.Priority = Priority(strings.ToLower(jsontext.Text(value)))
		case "payload":
			r.payload = value
		case "timestamp":
			r.at, r.Timestamp = value, jsontext.Text(value)
		}
	})
	r.Payload = orNull(r.payload)
	return r
}
