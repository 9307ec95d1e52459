package amqp1

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/Azure/go-amqp"
)

// frames is a connection whose reader never meets a message that would end more
// than itself. The client library decodes with a call of a function for each
// level of nesting, so that some megabytes of nothing but levels end the process;
// and over a message that it cannot decode it closes the link, to which the broker
// then sends that message again, and nothing else. What a stranger can send so is
// replaced by a message with a content type that no codec accepts: it is dropped
// as any other that cannot be decoded.
//
// The levels and the types that the library does not know are looked for in every
// message. Whatever else it fails at is found by decoding twice, once it has failed.
type frames struct {
	net.Conn
	in    *bufio.Reader
	pass  int    // bytes of the frame under way that are passed on as they are
	out   []byte // what is passed on instead of a frame
	frame []byte // a transfer
	begun map[delivery]*partial
	first partial // of a message in one frame
	wary  atomic.Bool
}

// delivery is what a transfer is a part of, as long as there are more.
type delivery struct {
	channel uint16
	handle  uint32
}

// partial is how far a message was looked at.
type partial struct {
	scan scan
	cut  bool // it was replaced: the rest of it has no payload
	gone bool // it was taken back: the rest of it is left out
}

const (
	frameHead    = 8  // bytes: size, offset of the body, type, channel
	transferHead = 11 // with the descriptor of a transfer
)

func newFrames(c net.Conn) *frames {
	return &frames{Conn: c, in: bufio.NewReaderSize(c, 32<<10), begun: map[delivery]*partial{}}
}

// Read implements io.Reader. It returns whole frames as long as there are some
// and p has room.
func (f *frames) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(f.out) == 0 && f.pass == 0 {
			if n > 0 && !f.buffered() {
				return n, nil // before it waits for more
			}
			if err := f.next(); err != nil {
				return n, err
			}
		}
		if len(f.out) > 0 {
			c := copy(p[n:], f.out)
			f.out = f.out[c:]
			n += c
			continue
		}
		if f.pass == 0 {
			continue // a frame that was left out
		}
		if n > 0 && f.in.Buffered() == 0 {
			return n, nil
		}
		c, err := f.in.Read(p[n:min(len(p), n+f.pass)])
		f.pass -= c
		n += c
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// buffered reports whether next would not wait.
func (f *frames) buffered() bool {
	if f.in.Buffered() < transferHead {
		return false
	}
	head, err := f.in.Peek(frameHead)
	return err == nil && uint64(f.in.Buffered()) >= uint64(binary.BigEndian.Uint32(head))
}

// next looks at the next frame.
func (f *frames) next() error {
	head, err := f.in.Peek(frameHead)
	if err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head)
	if string(head[:4]) == "AMQP" || size < transferHead { // a protocol header, or a heartbeat
		f.pass = frameHead
		return nil
	}
	if head, err = f.in.Peek(transferHead); err != nil {
		return err
	}
	if head[5] != 0 || string(head[8:]) != "\x00\x53\x14" {
		f.pass = int(min(size, 1<<30))
		return nil
	}
	if size > frameSize {
		return fmt.Errorf("the peer sends a frame of %d bytes, %d were agreed on", size, frameSize)
	}
	f.frame = append(f.frame[:0], make([]byte, size)...)
	if _, err := io.ReadFull(f.in, f.frame); err != nil {
		return err
	}
	f.out = f.transfer(f.frame)
	return nil
}

// transfer returns what is passed on for a transfer.
func (f *frames) transfer(frame []byte) []byte {
	t, ok := parseTransfer(frame)
	if !ok {
		return frame // the library says what is wrong
	}
	key := delivery{binary.BigEndian.Uint16(frame[6:]), t.handle}
	p, continued := f.begun[key]
	if !continued {
		p = &f.first
		*p = partial{}
	}
	if !t.more || t.aborted {
		delete(f.begun, key)
	} else if !continued {
		p = new(partial)
		f.begun[key] = p
	}
	payload := frame[t.payload:]
	switch {
	case p.gone:
		return nil
	case p.cut:
		return resized(frame[:t.payload])
	case t.aborted:
		return frame
	case p.scan.feed(payload) && (continued || t.more || !f.wary.Load() || decodes(payload)):
		return frame
	case continued: // its beginning was passed on
		p.gone = true
		return takenBack(frame, t)
	}
	p.cut = true
	return resized(append(frame[:t.payload:t.payload], unreadable...))
}

// unreadable is a message with a content type that no codec accepts and no body.
const unreadable = "\x00\x53\x73\xc0\x13\x07\x40\x40\x40\x40\x40\x40\xa3\x0aunreadable" + "\x00\x53\x75\xa0\x00"

func decodes(payload []byte) bool { return new(amqp.Message).UnmarshalBinary(payload) == nil }

// resized returns a frame with its size set.
func resized(frame []byte) []byte {
	binary.BigEndian.PutUint32(frame, uint32(len(frame))) //nolint:gosec // as long as one that was received
	return frame
}

// takenBack returns the transfer by which a sender gives up a message of which it
// has sent a part.
func takenBack(frame []byte, t transferFields) []byte {
	b := append([]byte(nil), frame[:transferHead]...)
	b = append(b, 0xc0, 15, 10, 0x70)
	b = binary.BigEndian.AppendUint32(b, t.handle)
	return resized(append(b, 0x40, 0x40, 0x40, 0x40, 0x42, 0x40, 0x40, 0x40, 0x41))
}

// transferFields are those of a transfer that count here.
type transferFields struct {
	handle        uint32
	more, aborted bool
	payload       int // where it begins in the frame
}

// parseTransfer reads the performative of a transfer.
func parseTransfer(frame []byte) (t transferFields, ok bool) {
	rest := frame[transferHead:]
	at, size := 0, 0
	switch {
	case len(rest) >= 3 && rest[0] == 0xc0:
		at, size = 3, int(rest[1])+2
	case len(rest) >= 9 && rest[0] == 0xd0:
		at, size = 9, int(min(binary.BigEndian.Uint32(rest[1:]), frameSize))+5
	}
	if at == 0 || size < at || size > len(rest) {
		return t, false
	}
	t.payload = transferHead + size
	fields := rest[at:size]
	for i := 0; i < 10 && len(fields) > 0; i++ {
		n := scalarSize(fields)
		if n == 0 || n > len(fields) {
			return t, i > 5 // a delivery state: only aborted may be behind it
		}
		switch value := fields[:n]; {
		case i == 0 && value[0] == 0x70:
			t.handle = binary.BigEndian.Uint32(value[1:])
		case i == 0 && value[0] == 0x52:
			t.handle = uint32(value[1])
		case i == 5:
			t.more = value[0] == 0x41 || value[0] == 0x56 && value[1] != 0
		case i == 9:
			t.aborted = value[0] == 0x41 || value[0] == 0x56 && value[1] != 0
		}
		fields = fields[n:]
	}
	return t, true
}

// scalarSize returns how many bytes a value takes that holds no others; 0: it does,
// or is cut off.
func scalarSize(b []byte) int {
	switch b[0] >> 4 {
	case 0x4, 0x5, 0x6, 0x7, 0x8, 0x9:
		return 1 + fixedWidth(b[0])
	case 0xa:
		if len(b) > 1 {
			return 2 + int(b[1])
		}
	}
	return 0
}

// fixedWidth returns the bytes of a value whose type has a fixed width.
func fixedWidth(code byte) int {
	if code>>4 == 0x4 {
		return 0
	}
	return 1 << (code>>4 - 5)
}
