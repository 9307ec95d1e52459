package rabbit

import (
	"bufio"
	"bytes"
	"encoding/binary"

	"github.com/patchbay-go/patchbay/internal/coalesce"
)

// frames is a connection whose reader never meets a message that it would take
// for an offence of the broker. The client library ends the connection over
// headers that are nested deeper or hold more entries than it reads; RabbitMQ
// passes them on, and passes them on again to whoever connects next, so that one
// message of a stranger would keep a server from ever receiving another one.
// Such properties are replaced by a content type that no codec accepts: the
// message is dropped as any other that cannot be decoded.
type frames struct {
	*coalesce.Conn
	in   *bufio.Reader
	pass int    // bytes of the frame under way that are passed on as they are
	made []byte // what is passed on instead of a frame
}

func newFrames(c *coalesce.Conn) *frames {
	return &frames{Conn: c, in: bufio.NewReaderSize(c, frameSize)}
}

const (
	frameHeader     = 2 // the type of a frame with a message's size and properties
	frameHead       = 7 // bytes: type, channel, size of the payload
	frameEnd        = 0xce
	contentHead     = 14 // bytes of a header frame's payload: class, weight, size of the body, flags
	flagContentType = 1 << 15
	flagEncoding    = 1 << 14
	flagHeaders     = 1 << 13

	// The library's bounds.
	maxFieldDepth    = 32
	maxFieldElements = 8192

	// harmless is the size of a payload that cannot exceed them: a level of
	// nesting takes five bytes at least.
	harmless = contentHead + 5*maxFieldDepth

	unreadableType = "unreadable: headers nested too deeply, or too many"
)

// Read implements io.Reader. It returns whole frames as long as there are some
// and p has room.
func (f *frames) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(f.made) == 0 && f.pass == 0 {
			if n > 0 && f.in.Buffered() < frameHead {
				return n, nil // before it waits for more
			}
			if err := f.begin(); err != nil {
				return n, err
			}
		}
		if len(f.made) > 0 {
			c := copy(p[n:], f.made)
			f.made = f.made[c:]
			n += c
			continue
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

// begin looks at the next frame.
func (f *frames) begin() error {
	head, err := f.in.Peek(frameHead)
	if err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head[3:]))
	f.pass = frameHead + size + 1
	if head[0] != frameHeader || size <= harmless || f.pass > f.in.Size() {
		return nil // the library refuses what is larger than was agreed
	}
	frame, err := f.in.Peek(f.pass)
	if err != nil {
		return err
	}
	if readable(frame[frameHead : frameHead+size]) {
		return nil
	}
	f.made = unreadable(frame)
	_, err = f.in.Discard(f.pass)
	f.pass = 0
	return err
}

// unreadable returns a header frame like that one, with other properties.
func unreadable(frame []byte) []byte {
	made := bytes.Clone(frame[:frameHead+contentHead])
	binary.BigEndian.PutUint32(made[3:], contentHead+1+uint32(len(unreadableType)))
	binary.BigEndian.PutUint16(made[frameHead+contentHead-2:], flagContentType)
	made = append(made, byte(len(unreadableType)))
	made = append(made, unreadableType...)
	return append(made, frameEnd)
}

// readable reports whether the library can read the headers in the payload of
// a header frame.
func readable(payload []byte) bool {
	flags := binary.BigEndian.Uint16(payload[contentHead-2:])
	s := fields{rest: payload[contentHead:]}
	if flags&flagContentType != 0 {
		s.skip(s.number(1))
	}
	if flags&flagEncoding != 0 {
		s.skip(s.number(1))
	}
	if flags&flagHeaders != 0 {
		s.container(0, true)
	}
	return !s.bad
}

// fields passes over the values of AMQP 0-9-1. After an error there is no rest.
type fields struct {
	rest []byte
	bad  bool
}

func (s *fields) skip(n int) {
	if n < 0 || n > len(s.rest) {
		s.rest, s.bad = nil, true
		return
	}
	s.rest = s.rest[n:]
}

// number reads a length of one or four bytes.
func (s *fields) number(size int) int {
	if len(s.rest) < size {
		s.rest, s.bad = nil, true
		return 0
	}
	n := int(s.rest[0])
	if size == 4 {
		n = int(int32(binary.BigEndian.Uint32(s.rest)))
	}
	s.rest = s.rest[size:]
	return n
}

// container passes over a table, whose values have names, or an array.
func (s *fields) container(depth int, named bool) {
	inside := s.rest
	if n := s.number(4); n >= 0 && n <= len(s.rest) {
		inside = s.rest[:n]
		s.skip(n)
	} else {
		s.bad = true
	}
	if s.bad || depth > maxFieldDepth {
		s.rest, s.bad = nil, true
		return
	}
	in := fields{rest: inside}
	elements := 0
	for ; len(in.rest) > 0; elements++ {
		if named {
			in.skip(in.number(1))
		}
		in.value(depth)
	}
	if in.bad || elements > maxFieldElements {
		s.rest, s.bad = nil, true
	}
}

func (s *fields) value(depth int) {
	if len(s.rest) == 0 {
		s.bad = true
		return
	}
	kind := s.rest[0]
	s.rest = s.rest[1:]
	switch kind {
	case 'V':
	case 't', 'b', 'B':
		s.skip(1)
	case 's', 'u':
		s.skip(2)
	case 'I', 'i', 'f':
		s.skip(4)
	case 'D':
		s.skip(5)
	case 'l', 'd', 'T':
		s.skip(8)
	case 'S', 'x':
		s.skip(s.number(4))
	case 'F', 'A':
		s.container(depth+1, kind == 'F')
	default:
		s.rest, s.bad = nil, true
	}
}
