package proto

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/patchbay-go/patchbay/messaging"
)

// MaxProps bounds the second frame of a Request or a Reply.
const MaxProps = 1 << 20

// Fits reports whether the properties of m, and the reply address to, can be
// encoded.
func Fits(to string, m *messaging.Message) bool {
	longest := max(len(to), len(m.ID), len(m.CorrelationID), len(m.ReplyTo), len(m.ContentType), len(m.ContentEncoding))
	for i := range m.Headers {
		longest = max(longest, len(m.Headers[i].Key))
	}
	return longest <= math.MaxUint16 && len(m.Headers) <= math.MaxUint16 && PropsSize(to, m) <= MaxProps
}

// PropsSize returns the size of what AppendProps appends.
func PropsSize(to string, m *messaging.Message) int {
	const fixed = 6*2 + 1 + 2 // lengths, priority, number of headers
	size := fixed + len(to) + len(m.ID) + len(m.CorrelationID) + len(m.ReplyTo) + len(m.ContentType) + len(m.ContentEncoding)
	for i := range m.Headers {
		size += 2 + len(m.Headers[i].Key) + 4 + len(m.Headers[i].Value)
	}
	return size
}

// AppendProps appends the second frame of a Request, where to is empty, or of a
// Reply to that address.
func AppendProps(b []byte, to string, m *messaging.Message) []byte {
	b = appendText(b, to)
	b = appendText(b, m.ID)
	b = appendText(b, m.CorrelationID)
	b = appendText(b, m.ReplyTo)
	b = appendText(b, m.ContentType)
	b = appendText(b, m.ContentEncoding)
	b = append(b, m.Priority)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Headers)))
	for i := range m.Headers {
		b = appendLong(appendText(b, m.Headers[i].Key), m.Headers[i].Value)
	}
	return b
}

// ParseProps reads the second frame of a Request or a Reply into m, whose
// headers it appends to, and returns the reply address. The strings share one
// copy of the frame.
func ParseProps(frame []byte, m *messaging.Message) (to string, err error) {
	s := scanner{rest: string(frame)}
	to = s.text()
	m.ID = s.text()
	m.CorrelationID = s.text()
	m.ReplyTo = s.text()
	m.ContentType = s.text()
	m.ContentEncoding = s.text()
	m.Priority = uint8(s.number(1))
	const least = 6 // bytes of a header
	headers := int(s.number(2))
	if headers > 0 {
		m.Headers = slices.Grow(m.Headers, min(headers, len(s.rest)/least))
	}
	for range headers {
		if s.bad {
			break
		}
		m.Headers = append(m.Headers, messaging.Header{Key: s.text(), Value: s.long()})
	}
	return to, s.end("the properties")
}
