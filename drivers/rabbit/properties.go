package rabbit

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// unreadable returns what stands for a message that cannot be read: its content
// type is one that no codec accepts, so it is dropped as any other that cannot
// be decoded.
func unreadable(why string) (m messaging.Message) {
	m.ContentType = "unreadable: " + why
	return m
}

// Headers that a quorum queue adds: attempts that failed, and all attempts
// (since RabbitMQ 4.3, where only the first kind counts against the limit). And the
// one that a stream adds.
const (
	headerDeliveryCount = "x-delivery-count"
	headerAcquiredCount = "x-acquired-count"
	headerStreamOffset  = "x-stream-offset"

	maxHeaders = 8192
)

// notes are what a queue says of a message.
type notes struct {
	count  int   // how often it was delivered; -1: nothing
	offset int64 // where it is in the stream
}

// properties reads the properties of a message, from the flags on. It keeps
// nothing of b.
func (f *frames) properties(b []byte) (m messaging.Message, n notes) {
	s := &scanner{rest: b}
	n.count = -1
	flags := s.uint16()
	short := func(flag uint16) string {
		if flags&flag == 0 {
			return ""
		}
		return f.names.Text(s.short())
	}
	m.ContentType, m.ContentEncoding = short(flagContentType), short(flagEncoding)
	if flags&flagHeaders != 0 {
		m.Headers, n = f.table(&scanner{rest: s.longText()}, s)
	}
	if flags&flagDeliveryMode != 0 {
		m.Durable = s.octet() == 2
	}
	if flags&flagPriority != 0 {
		m.Priority = s.octet()
	}
	if flags&flagCorrelationID != 0 {
		m.CorrelationID = string(s.short())
	}
	m.ReplyTo = short(flagReplyTo)
	if flags&flagExpiration != 0 {
		m.TTL = expiration(s.short())
	}
	if flags&flagMessageID != 0 {
		m.ID = string(s.short())
	}
	if s.bad {
		return unreadable("its properties are malformed"), notes{count: -1}
	}
	return m, n
}

// expiration reads a rest of life; what is no number is none.
func expiration(b []byte) time.Duration {
	var ms int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		if ms = ms*10 + int64(c-'0'); ms > math.MaxUint32 {
			return 0
		}
	}
	return time.Duration(ms) * time.Millisecond
}

// table reads headers, sorted by their names, and the queue's own. What is wrong
// with them makes all bad.
func (f *frames) table(s, all *scanner) (headers []messaging.Header, n notes) {
	n.count = -1
	for i := 0; len(s.rest) > 0; i++ {
		key := s.short()
		value, ok := f.field(s)
		if s.bad || i == maxHeaders {
			all.bad = true
			return nil, n
		}
		switch {
		case n.take(key, value):
		case ok:
			headers = append(headers, messaging.Header{Key: f.names.Text(key), Value: value})
		}
	}
	if len(headers) > 1 {
		slices.SortStableFunc(headers, func(a, b messaging.Header) int { return strings.Compare(a.Key, b.Key) })
	}
	return headers, n
}

// take takes a header if it is the queue's.
func (n *notes) take(key []byte, value string) bool {
	switch string(key) {
	case headerDeliveryCount, headerAcquiredCount:
		if count, err := strconv.Atoi(value); err == nil {
			n.count = max(n.count, count)
		}
	case headerStreamOffset:
		n.offset, _ = strconv.ParseInt(value, 10, 64) // 0 is as good as any of a stranger's
	default:
		return false
	}
	return true
}

// field reads a value and renders it as text, if it is no array, table or nil.
func (f *frames) field(s *scanner) (string, bool) {
	signed := func(n int64) (string, bool) { return strconv.FormatInt(n, 10), true }
	unsigned := func(n uint64) (string, bool) { return strconv.FormatUint(n, 10), true }
	switch kind := s.octet(); kind {
	case 'S', 'x':
		return string(s.longText()), true
	case 't':
		return strconv.FormatBool(s.octet() != 0), true
	case 'b':
		return signed(int64(int8(s.octet())))
	case 'B':
		return unsigned(uint64(s.octet()))
	case 's':
		return signed(int64(int16(s.uint16())))
	case 'u':
		return unsigned(uint64(s.uint16()))
	case 'I':
		return signed(int64(int32(s.uint32())))
	case 'i':
		return unsigned(uint64(s.uint32()))
	case 'l':
		return signed(int64(s.long()))
	case 'f':
		return strconv.FormatFloat(float64(math.Float32frombits(s.uint32())), 'g', -1, 32), true
	case 'd':
		return strconv.FormatFloat(math.Float64frombits(s.long()), 'g', -1, 64), true
	case 'T':
		return time.Unix(int64(s.long()), 0).UTC().Format(time.RFC3339), true
	case 'D':
		scale := s.octet()
		return decimal(int64(int32(s.uint32())), int(scale)), true
	case 'F', 'A':
		s.longText()
	case 'V':
	default:
		s.bad = true
	}
	return "", false
}

func decimal(value int64, scale int) string {
	digits, sign := strconv.FormatInt(value, 10), ""
	if value < 0 {
		sign, digits = "-", digits[1:]
	}
	if scale == 0 {
		return sign + digits
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
