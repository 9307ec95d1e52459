package rabbit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/intern"
	"github.com/patchbay-go/patchbay/internal/splice"
)

// frames is the connection beneath the client library. The library connects,
// opens channels, declares, binds and consumes. What happens once for each
// message does not pass through it: publishes and acknowledgements are written
// here, and what the broker delivers, returns and confirms is taken out of the
// stream and told to the channel that it is for. ADR 0007 says why.
//
// The library sees a heartbeat from time to time in place of what was taken, so
// that it knows the peer to be alive.
type frames struct {
	*coalesce.Conn

	read  *splice.Reader // for the goroutine that reads, which is the library's
	names intern.Table   // likewise

	maxBody int64 // bytes of a message's body; what is larger is not kept

	channels atomic.Pointer[map[uint16]*channel] // replaced, never changed

	mu     sync.Mutex // protects what follows, and the order of what is written
	opened uint16     // the channel that the library opened last
	part   []byte     // of a frame that the library has not written to its end yet
}

func newFrames(c *coalesce.Conn, maxBody int64) *frames {
	f := &frames{Conn: c, read: splice.New(c, frameSize), maxBody: maxBody}
	f.read.Head, f.read.Size, f.read.Take = frameHead, sizeOf, f.take
	f.read.Sign, f.read.Interval = heartbeat[:], stillAlive
	f.channels.Store(&map[uint16]*channel{})
	return f
}

const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8

	frameHead = 7 // bytes: type, channel, size of the payload
	frameEnd  = 0xce

	// stillAlive is how often the library is told that the peer lives, while all
	// that comes is taken: more often than the shortest heartbeat, of a second.
	stillAlive = 500 * time.Millisecond
)

// heartbeat is a frame.
var heartbeat = [...]byte{frameHeartbeat, 0, 0, 0, 0, 0, 0, frameEnd} //nolint:gochecknoglobals // a constant

// errBadFrame: the peer does not speak AMQP 0-9-1.
var errBadFrame = errors.New("the peer sent a frame that is none")

// Read implements io.Reader, for the library.
func (f *frames) Read(p []byte) (int, error) { return f.read.Read(p) }

// sizeOf returns the size of a frame, or of the protocol header with which a peer
// refuses ours.
func sizeOf(head []byte) (int, error) {
	if head[0] == 'A' {
		return len("AMQP0091"), nil
	}
	n := binary.BigEndian.Uint32(head[3:])
	if n > math.MaxInt32-frameHead-1 { // which an int may not hold, nor anybody else
		return 0, fmt.Errorf("%w: it has %d bytes", errBadFrame, n)
	}
	return frameHead + int(n) + 1, nil
}

// take takes a frame, or leaves it to the library.
func (f *frames) take(frame []byte) (bool, error) {
	ch := (*f.channels.Load())[binary.BigEndian.Uint16(frame[1:])]
	if ch == nil {
		return false, nil
	}
	end := len(frame) - 1
	if frame[end] != frameEnd {
		return false, fmt.Errorf("%w: its end is %#x", errBadFrame, frame[end])
	}
	return ch.take(frame[0], frame[frameHead:end])
}

// add makes ch the receiver of the channel that the library opened last.
func (f *frames) add(ch *channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch.f, ch.number = f, f.opened
	f.replace(ch.number, ch)
}

// replace enters or removes a channel. f.mu is held.
func (f *frames) replace(number uint16, ch *channel) {
	old := *f.channels.Load()
	if ch == nil && old[number] == nil {
		return
	}
	channels := make(map[uint16]*channel, len(old)+1)
	for n, c := range old {
		channels[n] = c
	}
	if ch == nil {
		delete(channels, number)
	} else {
		channels[number] = ch
	}
	f.channels.Store(&channels)
}

// send writes whole frames of a channel, unless that is closed.
func (f *frames) send(ch *channel, b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ch.closed {
		return errChannelClosed
	}
	_, err := f.Conn.Write(b)
	return err
}

// Write implements io.Writer, for the library, which may write a frame in
// pieces: no frame of ours may come between those.
func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := p
	if len(f.part) > 0 {
		f.part = append(f.part, p...)
		b = f.part
	}
	n := f.look(b)
	if n > 0 {
		if _, err := f.Conn.Write(b[:n]); err != nil {
			return 0, err
		}
	}
	f.part = append(f.part[:0], b[n:]...)
	return len(p), nil
}

// look returns how many bytes of b are whole frames, and notes which channels
// they open and close. f.mu is held.
func (f *frames) look(b []byte) int {
	n := 0
	for {
		rest := b[n:]
		if len(rest) >= frameHead && rest[0] == 'A' { // the protocol header
			n += min(8, len(rest))
			continue
		}
		if len(rest) < frameHead {
			return n
		}
		size := frameHead + int(binary.BigEndian.Uint32(rest[3:])) + 1
		if len(rest) < size {
			return n
		}
		if rest[0] == frameMethod && size > frameHead+4 {
			f.wrote(binary.BigEndian.Uint16(rest[1:]), method(binary.BigEndian.Uint32(rest[frameHead:])))
		}
		n += size
	}
}

// wrote notes a method of the library's.
func (f *frames) wrote(number uint16, m method) {
	switch m {
	case channelOpen:
		f.opened = number
		f.replace(number, nil) // what had the number before
	case channelClose, channelCloseOK:
		// To publish on it now would end the connection.
		if ch := (*f.channels.Load())[number]; ch != nil {
			ch.closed = true
		}
	}
}
