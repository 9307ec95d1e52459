package rabbit

import (
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
)

// overhead is what the properties of a message need at most besides their
// text, in bytes; AMQP 0-9-1 puts them in one frame.
const overhead = 256

// check reports what cannot be written, or what the broker would answer by
// ending the connection.
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
