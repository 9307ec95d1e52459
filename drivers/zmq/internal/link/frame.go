package link

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"time"
)

// The flags of a ZMTP frame.
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

// MaxFrameHeader bounds what AppendFrameHeader appends.
const MaxFrameHeader = 9

// AppendFrame appends a frame of a message.
func AppendFrame(b, content []byte, more bool) []byte {
	return append(AppendFrameHeader(b, len(content), more), content...)
}

// AppendFrameHeader appends what comes before the content of a frame.
func AppendFrameHeader(b []byte, size int, more bool) []byte {
	var flags byte
	if more {
		flags = flagMore
	}
	return appendHeader(b, size, flags)
}

func appendHeader(b []byte, size int, flags byte) []byte {
	if size <= math.MaxUint8 {
		return append(b, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, flags|flagLong), uint64(size))
}

// appendCommand appends a command frame.
func appendCommand(b []byte, name string, body []byte) []byte {
	b = appendHeader(b, 1+len(name)+len(body), flagCommand)
	b = append(b, byte(len(name)))
	b = append(b, name...)
	return append(b, body...)
}

// Message is what Link.Read reads. Its Head and Second belong to the link and
// hold until the next Read, its Third is the reader's own. Absent frames are nil.
type Message struct {
	Frames int
	Head   []byte // the first frame
	Second []byte
	Third  []byte
}

// frames reads frames from a connection. It is for one goroutine.
type frames struct {
	in     *bufio.Reader
	from   *deadlines
	limit  int64         // of a message
	next   Message       // the next message, still in the buffer
	size   int           // of its frames; 0: it was not looked for, or is not whole
	head   [maxHead]byte // of a message that was not whole
	second []byte        // and its second frame
	block  []byte        // what is left of the memory that small bodies are cut from

	command func(name string, body []byte) error // is told commands; body holds until it returns
}

// whole looks for the next message in the buffer, and reports whether all of it is
// there and nothing is unusual about it. It waits for nothing and copies nothing.
func (f *frames) whole() bool {
	if f.size > 0 {
		return true
	}
	b, _ := f.in.Peek(f.in.Buffered()) // it has as many
	m, at := Message{}, 0
	for more := true; more; {
		flags, header, size := parseHeader(b[at:])
		if header == 0 || flags&^(flagMore|flagLong) != 0 || size > uint64(len(b)-at-header) {
			return false
		}
		at += header + int(size)
		content := b[at-int(size) : at : at]
		switch m.Frames++; m.Frames {
		case 1:
			m.Head = content
		case 2:
			m.Second = content
		case maxFrames:
			m.Third = content
		default:
			return false
		}
		more = flags&flagMore != 0
	}
	if len(m.Head) > maxHead || int64(at) > f.limit {
		return false
	}
	f.next, f.size = m, at
	return true
}

// parseHeader reads the header of a frame at the beginning of b. It returns no
// header if that is not all there.
func parseHeader(b []byte) (flags byte, header int, size uint64) {
	switch {
	case len(b) < 2:
		return 0, 0, 0
	case b[0]&flagLong == 0:
		return b[0], 2, uint64(b[1])
	case len(b) < MaxFrameHeader:
		return 0, 0, 0
	}
	return b[0], MaxFrameHeader, binary.BigEndian.Uint64(b[1:])
}

// header reads the header of a frame.
func (f *frames) header() (flags byte, size uint64, err error) {
	if flags, err = f.in.ReadByte(); err != nil {
		return 0, 0, err
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 {
		return 0, 0, fmt.Errorf("%w: a frame with flags %#x", ErrProtocol, flags)
	}
	length := 1
	if flags&flagLong != 0 {
		length = 8
	}
	b, err := f.peek(length)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range b {
		size = size<<8 | uint64(c)
	}
	_, err = f.in.Discard(length)
	return flags, size, err
}

// peek returns the next n bytes without a copy. The end of the connection inside
// of them is unexpected.
func (f *frames) peek(n int) ([]byte, error) {
	b, err := f.in.Peek(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// read reads one message. Commands before it are handled on the way.
func (f *frames) read(m *Message) error {
	if !f.whole() {
		return f.assemble(m)
	}
	*m = f.next
	if m.Third != nil {
		m.Third = append(f.room(len(m.Third)), m.Third...)
	}
	_, err := f.in.Discard(f.size)
	f.size = 0
	return err
}

// assemble reads one message frame by frame, as their bytes come.
func (f *frames) assemble(m *Message) error {
	*m = Message{}
	left := f.limit
	for more := true; more; {
		flags, size, err := f.header()
		if err != nil {
			if m.Frames > 0 {
				err = unexpected(err)
			}
			return err
		}
		if flags&flagCommand != 0 {
			if m.Frames > 0 || flags&flagMore != 0 {
				return fmt.Errorf("%w: a command inside of a message", ErrProtocol)
			}
			if err := f.readCommand(size); err != nil {
				return err
			}
			continue
		}
		if size > uint64(left) {
			return limitError("a message of more than %d bytes", f.limit)
		}
		left -= int64(size)
		f.from.expect(int64(size))
		if err := f.readFrame(m, int(size)); err != nil {
			return unexpected(err)
		}
		more = flags&flagMore != 0
	}
	f.from.expect(0)
	return nil
}

func (f *frames) readFrame(m *Message, size int) (err error) {
	m.Frames++
	switch m.Frames {
	case 1:
		if size > maxHead {
			return limitError("a first frame of %d bytes", size)
		}
		m.Head = f.head[:size]
		_, err = io.ReadFull(f.in, m.Head)
	case 2:
		if size > step {
			m.Second, err = f.own(size)
			break
		}
		if cap(f.second) < size {
			f.second = make([]byte, max(size, 256))
		}
		m.Second = f.second[:size]
		_, err = io.ReadFull(f.in, m.Second)
	case maxFrames:
		m.Third, err = f.own(size)
	default:
		return limitError("a message of more than %d frames", maxFrames)
	}
	return err
}

// own reads size bytes into memory of their own, of which no more is allocated
// than has come, or about to come in one step.
func (f *frames) own(size int) ([]byte, error) {
	b := f.room(min(size, step))
	b = b[:cap(b)]
	for have := 0; ; {
		if _, err := io.ReadFull(f.in, b[have:]); err != nil {
			return nil, err
		}
		if have = len(b); have == size {
			return b, nil
		}
		larger := make([]byte, min(size, 2*have))
		copy(larger, b)
		b = larger
	}
}

// room returns memory of that capacity, which for small bodies they share.
func (f *frames) room(size int) []byte {
	if size > smallBody {
		return make([]byte, 0, size)
	}
	if len(f.block) <= size {
		f.block = make([]byte, blockSize)
	}
	b := f.block[:0:size]
	f.block = f.block[size:]
	return b
}

// readCommand reads a command of the traffic phase.
func (f *frames) readCommand(size uint64) error {
	if size > maxCommand {
		return limitError("a command of %d bytes", size)
	}
	b, err := f.peek(int(size))
	if err != nil {
		return err
	}
	name, body, ok := cutCommand(b)
	if !ok {
		return fmt.Errorf("%w: a command without a name", ErrProtocol)
	}
	if err := f.command(name, body); err != nil {
		return err
	}
	_, err = f.in.Discard(int(size))
	return err
}

// cutCommand splits the content of a command frame.
func cutCommand(b []byte) (name string, body []byte, ok bool) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return "", nil, false
	}
	return string(b[1 : 1+b[0]]), b[1+b[0]:], true
}

func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // bufio and io return it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}

// deadlines is a net.Conn whose Read ends when nothing comes for a while, or
// when a message that was begun is not complete in time.
type deadlines struct {
	net.Conn
	silence time.Duration // 0: the connection's own deadline counts
	set     time.Time     // when the deadline was last set
	until   time.Time     // of the message under way; zero: there is none
	changed bool
}

// expect says that size more bytes of a message are to come; 0 ends it.
func (d *deadlines) expect(size int64) {
	if d.silence == 0 {
		return
	}
	if size <= readBuffer && d.until.IsZero() {
		return // too small to be worth a look at the clock; a second such frame is no different
	}
	switch {
	case size == 0:
		d.until, d.changed = time.Time{}, true
	case d.until.IsZero():
		d.until, d.changed = time.Now().Add(partial), true
		fallthrough
	default:
		d.until = d.until.Add(time.Duration(size) * time.Second / partialRate)
	}
}

func (d *deadlines) Read(p []byte) (int, error) {
	if d.silence > 0 {
		if now := time.Now(); d.changed || now.Sub(d.set) > d.silence/8 {
			at := now.Add(d.silence)
			if !d.until.IsZero() && d.until.Before(at) {
				at = d.until
			}
			d.set, d.changed = now, false
			if err := d.Conn.SetReadDeadline(at); err != nil {
				return 0, err
			}
		}
	}
	return d.Conn.Read(p)
}
