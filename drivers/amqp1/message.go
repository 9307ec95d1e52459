package amqp1

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// maxTTL is the longest life that the header can say.
const maxTTL = math.MaxUint32 * time.Millisecond

// job is one message on its way out. It is pooled with its buffers: nothing of
// the core's message may be kept.
type job struct {
	message amqp.Message
	to      messaging.Address
	done    messaging.Completion // nil: nobody wants to know
	bytes   int                  // what it counts for in the window

	settled    bool // no outcome is asked of the peer
	mustArrive bool // that it has nowhere to go is ErrNoRoute

	header     amqp.MessageHeader
	properties amqp.MessageProperties
	headers    map[string]any
	data       [1][]byte
	body       []byte

	target, subject, replyTo, contentType, contentEncoding string
}

// newJob copies a message into the form of the library.
//
// What is answered, and the answers, are settled when they are sent: the reply
// says as much as an outcome would, and costs half. All others wait for theirs, and
// so does what must arrive, where it is an outcome that tells.
func newJob(c *conn, to messaging.Address, target terminus, m *messaging.Message, done messaging.Completion) *job {
	j, _ := c.jobs.Get().(*job)
	if j == nil {
		j = new(job)
	}
	j.to, j.done, j.bytes = to, done, len(m.Body)
	reply := to.Kind == messaging.KindReply
	j.settled = (reply || m.ReplyTo != "" || c.o.settledCasts && to.Kind == messaging.KindRPC && !m.Durable) &&
		!(m.Mandatory && c.p.noRoute)
	j.mustArrive = m.Mandatory || reply
	j.body = append(j.body[:0], m.Body...)

	j.header = amqp.MessageHeader{Durable: m.Durable, Priority: m.Priority}
	if m.TTL > 0 {
		j.header.TTL = max(time.Millisecond, min(m.TTL, maxTTL))
	}
	j.properties = amqp.MessageProperties{}
	if target.anonymous || m.ContentType == c.o.valueType {
		j.target = target.address
		j.properties.To = &j.target
	}
	if m.ID != "" {
		j.properties.MessageID = m.ID
	}
	if m.CorrelationID != "" {
		j.properties.CorrelationID = m.CorrelationID
	}
	j.replyTo = m.ReplyTo
	if j.replyTo != "" {
		j.properties.ReplyTo = &j.replyTo
	}
	j.message = amqp.Message{Header: &j.header, Properties: &j.properties}
	if m.ContentType == c.o.valueType {
		j.subject = target.subject
		j.asOslo(m)
	} else {
		j.asNative(m, target)
	}
	if j.subject != "" {
		j.properties.Subject = &j.subject
	}
	return j
}

// asNative puts the body into a data section and the metadata around it.
func (j *job) asNative(m *messaging.Message, target terminus) {
	j.subject = target.subject
	if j.subject == "" && j.to.Kind == messaging.KindNotify {
		j.subject = j.to.Topic
	}
	if j.contentType = m.ContentType; j.contentType != "" {
		j.properties.ContentType = &j.contentType
	}
	// AMQP 0-9-1 puts a character set there; here it is for what has to be undone.
	if j.contentEncoding = m.ContentEncoding; j.contentEncoding != "" && j.contentEncoding != "utf-8" {
		j.properties.ContentEncoding = &j.contentEncoding
	}
	if len(m.Headers) > 0 {
		if j.headers == nil {
			j.headers = make(map[string]any, len(m.Headers))
		}
		for _, h := range m.Headers {
			if _, twice := j.headers[h.Key]; !twice {
				j.headers[h.Key] = h.Value
			}
		}
		j.message.ApplicationProperties = j.headers
	}
	j.data[0] = j.body
	j.message.Data = j.data[:]
}

// asOslo is as oslo.messaging's old amqp1 driver had it: a string, or nothing for
// a heartbeat, and no more properties.
func (j *job) asOslo(m *messaging.Message) {
	if len(m.Body) == 0 {
		j.message.Value = amqp.Null{}
		return
	}
	j.message.Value = string(j.body)
}

// sent frees what the library has written.
func (j *job) sent() {
	j.message = amqp.Message{}
	clear(j.headers)
	if cap(j.body) > 64<<10 {
		j.body = nil
	}
}

// finish gives the job back and tells its outcome.
func (c *conn) finish(j *job, err error) {
	done, to := j.done, j.to
	c.gate.Leave(1, j.bytes)
	j.sent()
	*j = job{headers: j.headers, body: j.body[:0]}
	c.jobs.Put(j)
	if done == nil {
		return
	}
	if err != nil {
		err = &messaging.OpError{Op: "sending to", Addr: to.String(), Err: err}
	}
	done.Complete(err)
}

// check reports what no peer takes.
func check(m *messaging.Message, limit int64) error {
	if limit > 0 && int64(len(m.Body)) > limit {
		return fmt.Errorf("%w: %d bytes, the peer takes %d", messaging.ErrTooLarge, len(m.Body), limit)
	}
	if !isASCII(m.ContentType) || !isASCII(m.ContentEncoding) {
		return errors.Join(messaging.ErrPermanent, errors.New("a content type is ASCII"))
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > 0x7f {
			return false
		}
	}
	return true
}

// received returns what the library received as a message. Its content type is
// valueType if it holds a value, or nothing, and nobody said what that is.
func received(m *amqp.Message, valueType string) messaging.Message {
	var r messaging.Message
	if p := m.Properties; p != nil {
		r.ID = identifier(p.MessageID)
		r.CorrelationID = identifier(p.CorrelationID)
		r.ReplyTo = text(p.ReplyTo)
		r.ContentType = text(p.ContentType)
		r.ContentEncoding = text(p.ContentEncoding)
	}
	if h := m.Header; h != nil {
		r.TTL, r.Priority, r.Durable = h.TTL, min(h.Priority, 9), h.Durable
	}
	isValue := len(m.Data) == 0 && len(m.Sequence) == 0
	switch v := m.Value.(type) {
	case string:
		r.Body = []byte(v)
	case []byte:
		r.Body = v
	case nil, amqp.Null:
		switch len(m.Data) {
		case 0:
		case 1:
			r.Body = m.Data[0]
		default:
			r.Body = slices.Concat(m.Data...)
		}
	default: // a list or a map is no message of anybody's
		isValue = false
	}
	if r.ContentType == "" && isValue {
		r.ContentType = valueType
	}
	if len(m.ApplicationProperties) > 0 {
		r.Headers = make([]messaging.Header, 0, len(m.ApplicationProperties))
		for k, v := range m.ApplicationProperties {
			if s, ok := scalar(v); ok {
				r.Headers = append(r.Headers, messaging.Header{Key: k, Value: s})
			}
		}
		if len(r.Headers) > 1 {
			slices.SortFunc(r.Headers, func(a, b messaging.Header) int { return strings.Compare(a.Key, b.Key) })
		}
	}
	return r
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// identifier renders a message id, which may have one of four types.
func identifier(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case uint64:
		return strconv.FormatUint(v, 10)
	case amqp.UUID:
		return v.String()
	case []byte:
		return hex.EncodeToString(v)
	}
	return ""
}

// scalar renders the value of a header as text, if it is no array, map or null.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case amqp.Symbol:
		return string(v), true
	case []byte:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), true
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case amqp.UUID:
		return v.String(), true
	case int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), true
	}
	return "", false
}
