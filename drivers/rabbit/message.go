package rabbit

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// maxExpiration is the longest life that RabbitMQ accepts; it closes the
// channel over a longer one.
const maxExpiration = math.MaxUint32 * time.Millisecond

// overhead is what the properties of a message need at most besides their
// text, in bytes; AMQP 0-9-1 puts them in one frame.
const overhead = 256

// publishing returns m as the library sends it. Every message is persistent, as
// in oslo.messaging: it costs nothing in a transient queue, and in a durable
// one everybody expects it.
func publishing(m *messaging.Message) amqp.Publishing {
	p := amqp.Publishing{
		ContentType:     m.ContentType,
		ContentEncoding: m.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		Priority:        m.Priority,
		CorrelationId:   m.CorrelationID,
		ReplyTo:         m.ReplyTo,
		MessageId:       m.ID,
		Body:            m.Body,
	}
	if m.TTL > 0 {
		ms := (min(m.TTL, maxExpiration) + time.Millisecond - 1) / time.Millisecond
		p.Expiration = strconv.FormatInt(int64(min(ms, math.MaxUint32)), 10)
	}
	if len(m.Headers) > 0 {
		p.Headers = make(amqp.Table, len(m.Headers))
		for _, h := range m.Headers {
			p.Headers[h.Key] = h.Value
		}
	}
	return p
}

// check reports what the library would notice only halfway through the
// message, and answer by ending the connection.
func check(m *messaging.Message, r route, limit int64, frame int) error {
	if int64(len(m.Body)) > limit {
		return fmt.Errorf("%w: %d bytes, the broker takes %d (option max_message_size)", messaging.ErrTooLarge, len(m.Body), limit)
	}
	total := overhead
	for _, s := range [...]struct{ what, value string }{
		{"message id", m.ID},
		{"correlation id", m.CorrelationID},
		{"reply address", m.ReplyTo},
		{"content type", m.ContentType},
		{"content encoding", m.ContentEncoding},
		{"routing key", r.key},
		{"exchange name", r.exchange.name},
	} {
		if len(s.value) > maxShortString {
			return fmt.Errorf("%w: the %s has %d bytes, %d are possible", messaging.ErrTooLarge, s.what, len(s.value), maxShortString)
		}
		total += len(s.value)
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		if len(h.Key) > maxShortString {
			return fmt.Errorf("%w: the name of a header has %d bytes, %d are possible", messaging.ErrTooLarge, len(h.Key), maxShortString)
		}
		total += len(h.Key) + len(h.Value) + 6
	}
	if total > frame {
		return fmt.Errorf("%w: headers and properties have some %d bytes, a frame %d", messaging.ErrTooLarge, total, frame)
	}
	return nil
}

// Headers that a quorum queue adds: attempts that failed, and all attempts
// (since RabbitMQ 4.3, where only the first kind counts against the limit).
const (
	headerDeliveryCount = "x-delivery-count"
	headerAcquiredCount = "x-acquired-count"
)

// received returns what the library received as a message, and how often it
// was delivered before if the queue counts that, else -1.
func received(d *amqp.Delivery, counted bool) (messaging.Message, int) {
	m := messaging.Message{
		ID:              d.MessageId,
		CorrelationID:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		Body:            d.Body,
		Priority:        d.Priority,
		Durable:         d.DeliveryMode == amqp.Persistent,
	}
	if d.Expiration != "" { // else parsing would make an error each time
		if ms, err := strconv.ParseUint(d.Expiration, 10, 32); err == nil {
			m.TTL = time.Duration(ms) * time.Millisecond
		}
	}
	count := -1
	if counted {
		count = 0
	}
	if len(d.Headers) == 0 {
		return m, count
	}
	m.Headers = make([]messaging.Header, 0, len(d.Headers))
	for k, v := range d.Headers {
		if k == headerDeliveryCount || k == headerAcquiredCount {
			count = max(count, integer(v))
			continue
		}
		if s, ok := scalar(v); ok {
			m.Headers = append(m.Headers, messaging.Header{Key: k, Value: s})
		}
	}
	slices.SortFunc(m.Headers, func(a, b messaging.Header) int { return strings.Compare(a.Key, b.Key) })
	return m, count
}

// integer returns a count that the broker sent, and -1 for what is none.
func integer(v any) int {
	s, _ := scalar(v)
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// scalar renders the value of a header as text, if it is no array, table or nil.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339), true
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case int8, int16, int32, int64, int, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), true
	case amqp.Decimal:
		return decimal(v), true
	}
	return "", false
}

func decimal(d amqp.Decimal) string {
	digits := strconv.FormatInt(int64(d.Value), 10)
	sign := ""
	if d.Value < 0 {
		sign, digits = "-", digits[1:]
	}
	scale := int(d.Scale)
	if scale == 0 {
		return sign + digits
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
