package amqp1

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/splice"
)

// frames is the connection beneath the client library. The library connects,
// opens sessions, attaches and detaches links, and keeps the connection alive. What
// happens once for each message does not pass through it: transfers, their
// dispositions, and the flows that let them pass are written here, and taken out of
// what the peer sends and told to the session that they are for. ADR 0012 says why.
//
// For that it looks on while the library agrees with the peer on sessions and
// links. Only a session with a link that was announced here is ours in this way.
type frames struct {
	*coalesce.Conn
	decoder // of the goroutine that reads, which is the library's
	patient patience

	failed atomic.Pointer[error] // of Read
	read   *splice.Reader
	remote map[uint16]*session // by the peer's channel; of the goroutine that reads
	limit  int                 // the largest frame that the peer takes; valid once the connection is open

	mu        sync.Mutex          // protects what follows
	announced map[string]endpoint // links that the library is about to attach, by name
	local     map[uint16]*session // by our channel
}

const (
	// frameSize is the largest frame that we take.
	frameSize = 128 << 10

	// frameLimit bounds our own, whatever the peer takes; minFrame is what it has to.
	frameLimit = 1 << 20
	minFrame   = 512

	// stillAlive is how often the library is told that the peer lives, while all that
	// comes is taken.
	stillAlive = 500 * time.Millisecond
)

func newFrames(c *coalesce.Conn, idle time.Duration, maxBody int64, valueType string) *frames {
	f := &frames{
		Conn: c, decoder: decoder{maxBody: maxBody, valueType: valueType}, patient: patience{coarse: idle / 8},
		read: splice.New(c, frameSize), remote: map[uint16]*session{}, limit: frameLimit,
		announced: map[string]endpoint{}, local: map[uint16]*session{},
	}
	f.read.Head, f.read.Size, f.read.Take = frameHead, sizeOf, f.take
	f.read.Sign, f.read.Interval = emptyFrame[:], stillAlive
	if idle > 0 {
		f.read.Interval = min(stillAlive, idle/8)
	}
	return f
}

// emptyFrame is what keeps a connection alive.
var emptyFrame = [frameHead]byte{0, 0, 0, frameHead, 2} //nolint:gochecknoglobals // a constant

// sizeOf returns the size of a frame, or of a protocol header.
func sizeOf(head []byte) (int, error) {
	size := binary.BigEndian.Uint32(head)
	switch {
	case string(head[:4]) == "AMQP":
		return frameHead, nil
	case size < frameHead || size > frameSize:
		return 0, fmt.Errorf("the peer breaks the protocol: a frame of %d bytes, %d were agreed on", size, frameSize)
	}
	return int(size), nil
}

// Read implements io.Reader, for the library.
func (f *frames) Read(p []byte) (int, error) {
	n, err := f.read.Read(p)
	if err != nil {
		f.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// Err returns why nothing can be read or written any more; nil: it can. It knows
// before the library does.
func (f *frames) Err() error {
	if err := f.Conn.Err(); err != nil {
		return err
	}
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// noChannel is the channel that Artemis gives what it still says of the links of a
// session which has ended. It is dropped: the library would end the connection.
const noChannel = math.MaxUint16

// take takes a frame, or leaves it to the library.
func (f *frames) take(frame []byte) (bool, error) {
	body := bodyOf(frame)
	what := performativeOf(body)
	if what < performOpen || what > performEnd {
		return false, nil
	}
	v, payload, err := parse(body)
	channel := binary.BigEndian.Uint16(frame[6:])
	if err == nil {
		switch s := f.remote[channel]; what {
		case performOpen:
			err = f.opened(v)
		case performBegin:
			err = f.begun(channel, v)
		case performEnd:
			f.ended(channel, v)
		default:
			if s != nil {
				return s.take(what, v, payload)
			}
			if channel == noChannel {
				return true, nil
			}
		}
	}
	if err != nil {
		return false, fmt.Errorf("reading a frame of the peer: %w", err)
	}
	return false, nil
}

// opened notes what the peer says of the connection.
func (f *frames) opened(v fields) error {
	size, err := parseOpen(v)
	if size > 0 {
		f.limit = int(min(max(size, minFrame), frameLimit))
	}
	return err
}

// begun notes which of our sessions the peer calls by that channel.
func (f *frames) begun(channel uint16, v fields) error {
	b, err := parseBegin(v)
	if err != nil || !b.answer {
		return err // the library says what is wrong
	}
	f.mu.Lock()
	s := f.local[b.channel]
	f.mu.Unlock()
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.nextIncoming, s.window = b.nextOutgoing, b.incomingWindow
	s.shut = b.incomingWindow == 0
	s.adjust()
	s.mu.Unlock()
	f.remote[channel] = s
	return nil
}

// ended notes that the peer ends a session, or that it heard that we did.
func (f *frames) ended(channel uint16, v fields) {
	s := f.remote[channel]
	if s == nil {
		return
	}
	delete(f.remote, channel)
	f.mu.Lock()
	if f.local[s.channel] == s {
		delete(f.local, s.channel)
	}
	f.mu.Unlock()
	s.end(remoteError(endReason(v)))
}

// announce makes what comes with the messages of a link that the library is about
// to attach by that name ours.
func (f *frames) announce(name string, e endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.announced[name] = e
}

// withdraw undoes announce, if the library did not come to attach the link.
func (f *frames) withdraw(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.announced, name)
}

// Write implements io.Writer, for the library, which writes each frame at once.
func (f *frames) Write(p []byte) (int, error) {
	if len(p) > frameHead && string(p[:4]) != "AMQP" {
		f.wrote(p)
	}
	return f.Conn.Write(p)
}

// wrote notes which sessions and links the library begins and ends.
func (f *frames) wrote(frame []byte) {
	body := bodyOf(frame)
	what := performativeOf(body)
	switch what {
	case performBegin, performAttach, performDetach, performEnd:
	default:
		return
	}
	v, _, err := parse(body)
	if err != nil {
		return // never
	}
	channel := binary.BigEndian.Uint16(frame[6:])
	f.mu.Lock()
	s := f.local[channel]
	if what == performBegin {
		f.local[channel] = newSession(f, channel, v)
	}
	f.mu.Unlock()
	switch {
	case s == nil:
	case what == performAttach:
		f.attaches(s, v)
	case what == performDetach:
		s.leaves(handleOf(v))
	case what == performEnd:
		s.leavesAll()
	}
}

// attaches makes the session of an announced link ours, before the peer can say
// anything about it.
func (f *frames) attaches(s *session, v fields) {
	a, err := parseAttach(v)
	if err != nil {
		return // never
	}
	f.mu.Lock()
	e := f.announced[a.name]
	delete(f.announced, a.name)
	f.mu.Unlock()
	if e != nil {
		s.join(a, e)
	}
}

// end tells all links that the connection is lost.
func (f *frames) end(err error) {
	for _, s := range f.sessions() {
		s.end(err)
	}
}

func (f *frames) sessions() []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*session, 0, len(f.local))
	for _, s := range f.local {
		all = append(all, s)
	}
	return all
}

// state reports whether the peer says of a session that it has no room for messages,
// and whether it has outcomes to tell.
func (f *frames) state() (blocked, due bool) {
	for _, s := range f.sessions() {
		s.mu.Lock()
		if s.ours.Load() {
			blocked = blocked || s.blocked
		} else {
			blocked = blocked || s.shut
		}
		due = due || !s.unsettled.empty()
		s.mu.Unlock()
	}
	return blocked, due
}

// patience keeps read deadlines from costing as much as the reads. There are none
// while the connection is opened: RabbitMQ takes seconds to refuse a password, and
// the idle timeout may be shorter. Then the library sets one before each read; one
// that is near enough stays.
type patience struct {
	open   atomic.Bool // the connection is
	coarse time.Duration
	until  time.Time // of the goroutine that reads
}

// SetReadDeadline implements net.Conn.
func (f *frames) SetReadDeadline(t time.Time) error {
	p := &f.patient
	if !p.open.Load() || !t.IsZero() && t.Sub(p.until) < p.coarse {
		return nil
	}
	p.until = t
	return f.Conn.SetReadDeadline(t)
}
