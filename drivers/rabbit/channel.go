package rabbit

import (
	"encoding/binary"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// channel is one channel of a connection. What it does once in a while goes
// through the client library, what it does for each message does not.
type channel struct {
	*told
	lib    *amqp.Channel
	f      *frames
	number uint16
	closed bool // by either side; protected by f.mu

	arrival // of the goroutine that reads
}

// told is what a channel's owner wants to be told, on the goroutine that
// reads: it must not block. A nil func leaves the method to the library. What a
// func is given is valid until it returns, but for the message, which it may keep.
type told struct {
	deliver func(*arrival)                            // basic.deliver
	got     func(*arrival)                            // basic.get-ok; nil: basic.get-empty
	returns func(*arrival)                            // basic.return
	confirm func(number uint64, multiple, taken bool) // basic.ack and basic.nack
	flowed  func()                                    // channel.flow-ok
}

// arrival is a message on its way in: a method, a header and pieces of a body.
type arrival struct {
	messaging.Message
	tag           uint64
	redelivered   bool
	exchange, key []byte
	notes

	method method // whose message it is; 0: none is under way
	headed bool   // the header has come
	left   uint64 // bytes of the body that have not
}

// errChannelClosed: nothing was written, because the channel is closed.
var errChannelClosed = errors.New("the channel is closed")

// openChannel opens a channel.
func (c *conn) openChannel(to *told) (*channel, error) {
	c.opening.Lock() // the number is that of the last one opened
	defer c.opening.Unlock()
	lib, err := c.amqp.Channel()
	if err != nil {
		return nil, err
	}
	ch := &channel{told: to, lib: lib}
	c.frames.add(ch)
	return ch, nil
}

// closeChannel closes a channel, in whatever state it is.
func (c *conn) closeChannel(ch *channel) { _ = c.Answer("closing a channel", ch.lib.Close) }

// lost reports whether nothing can be written any more.
func (ch *channel) lost() bool {
	if ch.lib.IsClosed() {
		return true
	}
	ch.f.mu.Lock()
	defer ch.f.mu.Unlock()
	return ch.closed
}

// take handles the payload of a frame, and reports false if that is the
// library's to do.
func (ch *channel) take(kind byte, payload []byte) (bool, error) {
	switch {
	case kind == frameMethod:
		if len(payload) < 4 {
			return false, fmt.Errorf("%w: a method of %d bytes", errBadFrame, len(payload))
		}
		return ch.begin(method(binary.BigEndian.Uint32(payload)), &scanner{rest: payload[4:]})
	case ch.method == 0:
		return false, nil
	case kind == frameHeader && !ch.headed:
		return true, ch.header(payload)
	case kind == frameBody && ch.headed:
		return true, ch.body(payload)
	}
	return false, fmt.Errorf("%w: type %d on channel %d, out of turn", errBadFrame, kind, ch.number)
}

// begin handles a method.
func (ch *channel) begin(m method, s *scanner) (bool, error) {
	switch {
	case m == basicDeliver && ch.told.deliver != nil:
		s.short() // the consumer's tag
		ch.tag, ch.redelivered = s.long(), s.octet()&1 != 0
	case m == basicGetOK && ch.told.got != nil:
		ch.tag, ch.redelivered = s.long(), s.octet()&1 != 0
	case m == basicReturn && ch.told.returns != nil:
		s.skip(2) // the reply code
		s.short() // its text
	case m == basicGetEmpty && ch.told.got != nil:
		ch.told.got(nil)
		return true, nil
	case m == channelFlowOK && ch.told.flowed != nil:
		ch.told.flowed()
		return true, nil
	case (m == basicAck || m == basicNack) && ch.told.confirm != nil:
		number, multiple := s.long(), s.octet()&1 != 0
		if !s.bad {
			ch.told.confirm(number, multiple, m == basicAck)
		}
		return true, s.err(m)
	default:
		return false, nil
	}
	ch.exchange = append(ch.exchange[:0], s.short()...)
	ch.key = append(ch.key[:0], s.short()...)
	ch.method, ch.headed = m, false
	return true, s.err(m)
}

// header handles the header of a message.
func (ch *channel) header(payload []byte) error {
	if len(payload) < contentHead {
		return fmt.Errorf("%w: a header of %d bytes", errBadFrame, len(payload))
	}
	ch.headed, ch.left = true, binary.BigEndian.Uint64(payload[4:])
	ch.Message, ch.notes = ch.f.properties(payload[contentHead-2:])
	switch limit := ch.f.maxBody; {
	case ch.method == basicReturn:
	case limit > 0 && ch.left > uint64(limit):
		ch.Message = unreadable(fmt.Sprintf("its body has %d bytes, the limit is %d", ch.left, limit))
	case ch.left > 0:
		ch.Body = make([]byte, 0, min(ch.left, frameSize)) // no more than what may come in one piece
	}
	return ch.complete()
}

// body handles a piece of the body of a message.
func (ch *channel) body(payload []byte) error {
	if uint64(len(payload)) > ch.left {
		return fmt.Errorf("%w: a body that is larger than was announced", errBadFrame)
	}
	ch.left -= uint64(len(payload))
	if cap(ch.Body) > 0 {
		ch.Body = append(ch.Body, payload...)
	}
	return ch.complete()
}

// complete tells of a message if all of it has come.
func (ch *channel) complete() error {
	if ch.left > 0 {
		return nil
	}
	switch ch.method {
	case basicDeliver:
		ch.told.deliver(&ch.arrival)
	case basicGetOK:
		ch.told.got(&ch.arrival)
	case basicReturn:
		ch.told.returns(&ch.arrival)
	}
	ch.Message, ch.method = messaging.Message{}, 0
	return nil
}
