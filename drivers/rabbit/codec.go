package rabbit

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file writes and reads the methods of AMQP 0-9-1 that come with each
// message, and the properties of messages: chapters 2 and 4 of the
// specification, with RabbitMQ's types of fields and its basic.nack.

// method is a class and a method.
type method uint32

const (
	channelOpen     method = 20<<16 | 10
	channelFlow     method = 20<<16 | 20
	channelFlowOK   method = 20<<16 | 21
	channelClose    method = 20<<16 | 40
	channelCloseOK  method = 20<<16 | 41
	exchangeDeclare method = 40<<16 | 10
	basicPublish    method = 60<<16 | 40
	basicReturn     method = 60<<16 | 50
	basicDeliver    method = 60<<16 | 60
	basicGet        method = 60<<16 | 70
	basicGetOK      method = 60<<16 | 71
	basicGetEmpty   method = 60<<16 | 72
	basicAck        method = 60<<16 | 80
	basicNack       method = 60<<16 | 120
)

// contentHead is how many bytes of a header's payload come before the
// properties: class, weight, size of the body, flags.
const contentHead = 14

// The flags of a message's properties.
const (
	flagContentType = 1 << (15 - iota)
	flagEncoding
	flagHeaders
	flagDeliveryMode
	flagPriority
	flagCorrelationID
	flagReplyTo
	flagExpiration
	flagMessageID
)

// beginFrame appends the head of a frame, whose size endFrame fills in.
func beginFrame(b []byte, kind byte, channel uint16) (_ []byte, at int) {
	b = binary.BigEndian.AppendUint16(append(b, kind), channel)
	return append(b, 0, 0, 0, 0), len(b) + 4
}

func endFrame(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return append(b, frameEnd)
}

func appendMethod(b []byte, m method) []byte { return binary.BigEndian.AppendUint32(b, uint32(m)) }

// appendShort appends a short string, which has maxShortString bytes at most.
func appendShort(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func appendLong(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendDeclare appends an exchange.declare that is not answered.
func appendDeclare(b []byte, channel uint16, x exchange) []byte {
	const noWait = 1 << 4
	b, at := beginFrame(b, frameMethod, channel)
	b = append(appendMethod(b, exchangeDeclare), 0, 0)
	b = appendShort(appendShort(b, x.name), x.kind)
	b = append(b, bit(x.durable)<<1|bit(x.autoDelete)<<2|noWait)
	return endFrame(append(b, 0, 0, 0, 0), at) // no arguments
}

// appendPublish appends a basic.publish and the header of its message, with
// that id in place of its own. Every message is persistent, as in
// oslo.messaging: it costs nothing in a transient queue, and in a durable one
// everybody expects it.
func appendPublish(b []byte, channel uint16, r route, mandatory bool, m *messaging.Message, id string) []byte {
	b, at := beginFrame(b, frameMethod, channel)
	b = append(appendMethod(b, basicPublish), 0, 0)
	b = appendShort(appendShort(b, r.exchange.name), r.key)
	b = endFrame(append(b, bit(mandatory)), at)

	b, at = beginFrame(b, frameHeader, channel)
	b = append(b, 0, 60, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(len(m.Body)))
	return endFrame(appendProperties(b, m, id), at)
}

func appendProperties(b []byte, m *messaging.Message, id string) []byte {
	at, flags := len(b), uint16(flagDeliveryMode)
	b = append(b, 0, 0)
	short := func(flag uint16, s string) {
		if s != "" {
			flags |= flag
			b = appendShort(b, s)
		}
	}
	short(flagContentType, m.ContentType)
	short(flagEncoding, m.ContentEncoding)
	if len(m.Headers) > 0 {
		flags |= flagHeaders
		start := len(b)
		b = append(b, 0, 0, 0, 0)
		for i := range m.Headers {
			h := &m.Headers[i]
			b = appendLong(append(appendShort(b, h.Key), 'S'), h.Value)
		}
		binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	}
	b = append(b, amqp.Persistent)
	if m.Priority > 0 {
		flags |= flagPriority
		b = append(b, m.Priority)
	}
	short(flagCorrelationID, m.CorrelationID)
	short(flagReplyTo, m.ReplyTo)
	if m.TTL > 0 {
		flags |= flagExpiration
		b = appendExpiration(b, m.TTL)
	}
	short(flagMessageID, id)
	binary.BigEndian.PutUint16(b[at:], flags)
	return b
}

// maxExpiration is the longest life that RabbitMQ accepts; it closes the
// channel over a longer one.
const maxExpiration = math.MaxUint32 * time.Millisecond

// appendExpiration appends a rest of life in milliseconds, rounded up, as text.
func appendExpiration(b []byte, ttl time.Duration) []byte {
	ms := (min(ttl, maxExpiration) + time.Millisecond - 1) / time.Millisecond
	at := len(b)
	b = strconv.AppendInt(append(b, 0), int64(min(ms, math.MaxUint32)), 10)
	b[at] = byte(len(b) - at - 1)
	return b
}

func appendBody(b []byte, channel uint16, body []byte) []byte {
	b, at := beginFrame(b, frameBody, channel)
	return endFrame(append(b, body...), at)
}

func appendAck(b []byte, channel uint16, tag uint64, multiple bool) []byte {
	b, at := beginFrame(b, frameMethod, channel)
	b = binary.BigEndian.AppendUint64(appendMethod(b, basicAck), tag)
	return endFrame(append(b, bit(multiple)), at)
}

func appendNack(b []byte, channel uint16, tag uint64, requeue bool) []byte {
	b, at := beginFrame(b, frameMethod, channel)
	b = binary.BigEndian.AppendUint64(appendMethod(b, basicNack), tag)
	return endFrame(append(b, bit(requeue)<<1), at)
}

func appendGet(b []byte, channel uint16, queue string) []byte {
	b, at := beginFrame(b, frameMethod, channel)
	b = appendShort(append(appendMethod(b, basicGet), 0, 0), queue)
	return endFrame(append(b, 0), at)
}

// appendFlow appends a channel.flow that asks for what is so already.
func appendFlow(b []byte, channel uint16) []byte {
	b, at := beginFrame(b, frameMethod, channel)
	return endFrame(append(appendMethod(b, channelFlow), 1), at)
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// scanner reads what the broker sent. Once it is bad there is nothing left.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) err(m method) error {
	if s.bad {
		return fmt.Errorf("%w: method %d.%d is cut off", errBadFrame, m>>16, m&0xffff)
	}
	return nil
}

// skip returns the next n bytes, or as many zeroes if there are no more; of many, none.
func (s *scanner) skip(n int) []byte {
	if n < 0 || n > len(s.rest) {
		s.rest, s.bad = nil, true
		if n < 0 || n > 8 {
			return nil
		}
		return make([]byte, n)
	}
	b := s.rest[:n:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) octet() byte      { return s.skip(1)[0] }
func (s *scanner) uint16() uint16   { return binary.BigEndian.Uint16(s.skip(2)) }
func (s *scanner) uint32() uint32   { return binary.BigEndian.Uint32(s.skip(4)) }
func (s *scanner) long() uint64     { return binary.BigEndian.Uint64(s.skip(8)) }
func (s *scanner) short() []byte    { return s.skip(int(s.octet())) }
func (s *scanner) longText() []byte { return s.skip(int(int32(s.uint32()))) }
