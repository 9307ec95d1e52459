// Package proto is the protocol that nodes of the zmq driver speak over a ZMTP
// link: what is in the frames of a message, and nothing of how they travel.
// docs/wire.md describes it for peers in other languages.
//
// Encoding appends to buffers of the caller. Decoding never allocates by a
// number that the peer announced, and its results do not alias what was decoded
// unless they say so.
package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Version is the first byte of the first frame of every message.
const Version = 1

// HeadSize is the size of every first frame.
const HeadSize = 24

// Kind says what a message is.
type Kind uint8

// The kinds, with who sends them: the dialler of a link (D), which sends
// requests, or who accepted it (A), which handles them.
const (
	Hello    Kind = 1 + iota // both, first: who it is; of A also its sources
	Listen                   // A: more sources
	Unlisten                 // A: these are gone
	Request                  // D: a message to a source, numbered
	Reply                    // both: a message to a reply address; not answered
	Received                 // A: has all requests up to a number
	Settled                  // A: what became of requests
	Room                     // A: room is kept for requests that were turned back
	Pass                     // D: does not need that room
	Bye                      // both, last: closes in good order
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{"", "HELLO", "LISTEN", "UNLISTEN", "REQUEST", "REPLY", "RECEIVED", "SETTLED", "ROOM", "PASS", "BYE"}
	if int(k) < len(names) && k > 0 {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Frames returns how many frames a message of that kind has, 0 if there is no
// such kind.
func (k Kind) Frames() int {
	switch k {
	case Received, Room, Pass:
		return 1
	case Hello, Listen, Unlisten, Settled, Bye:
		return 2
	case Request, Reply:
		return 3
	}
	return 0
}

// Flags of a Request.
const (
	Redelivered uint8 = 1 << iota // it was given to somebody before
	UsesRoom                      // it takes room that was kept for it
	WantsRoom                     // more requests wait for room after this one
)

// Closed is the flag of an Unlisten: what was not settled is given back.
const Closed uint8 = 1

// Errors of decoding. Each means that the peer does not speak this protocol.
var (
	ErrVersion   = errors.New("another version of the protocol")
	ErrMalformed = errors.New("malformed message")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Head is the first frame of a message. Which fields a kind uses is said there.
type Head struct {
	Kind   Kind
	Flags  uint8         // Request, Unlisten
	Source uint32        // Request, Room, Pass: the number of a source of A
	Seq    uint64        // Request: its number on this link, from 1 on; Received: up to which
	TTL    time.Duration // Request: rest of its life, in milliseconds on the wire; 0: for ever
	Count  uint32        // Request: earlier deliveries; Room, Pass: how many requests
}

// maxTTL is the longest that the field can hold.
const maxTTL = math.MaxUint32 * time.Millisecond

// Append appends the frame.
func (h *Head) Append(b []byte) []byte {
	b = append(b, Version, byte(h.Kind), h.Flags, 0)
	b = binary.BigEndian.AppendUint32(b, h.Source)
	b = binary.BigEndian.AppendUint64(b, h.Seq)
	var ms uint32
	if h.TTL > 0 { // rounded up, so that the least time is not for ever
		ms = uint32((min(h.TTL, maxTTL)-1)/time.Millisecond) + 1
	}
	b = binary.BigEndian.AppendUint32(b, ms)
	return binary.BigEndian.AppendUint32(b, h.Count)
}

// Parse reads the frame.
func (h *Head) Parse(b []byte) error {
	switch {
	case len(b) == 0:
		return malformed("an empty first frame")
	case b[0] != Version:
		return fmt.Errorf("%w: %d, want %d", ErrVersion, b[0], Version)
	case len(b) != HeadSize:
		return malformed("a first frame of %d bytes, want %d", len(b), HeadSize)
	}
	*h = Head{
		Kind:   Kind(b[1]),
		Flags:  b[2],
		Source: binary.BigEndian.Uint32(b[4:]),
		Seq:    binary.BigEndian.Uint64(b[8:]),
		TTL:    time.Duration(binary.BigEndian.Uint32(b[16:])) * time.Millisecond,
		Count:  binary.BigEndian.Uint32(b[20:]),
	}
	if h.Kind.Frames() == 0 {
		return malformed("unknown %s", h.Kind)
	}
	return nil
}

// Outcome is what became of a request.
type Outcome uint8

// The outcomes. Of the last two nobody has seen the request.
const (
	Ack     Outcome = iota // handled
	Drop                   // refused: it must not come back
	Requeue                // given back: somebody is to have it again
	Full                   // turned back: there is no room; Room comes when there is
	Gone                   // turned back: nobody listens at the source any more
	outcomes
)

// SettledSize is the size of one entry of Settled.
const SettledSize = 9

// AppendSettled appends one entry to the second frame of Settled.
func AppendSettled(b []byte, seq uint64, o Outcome) []byte {
	return append(binary.BigEndian.AppendUint64(b, seq), byte(o))
}

// ParseSettled calls f for each entry of the second frame of Settled.
func ParseSettled(b []byte, f func(seq uint64, o Outcome)) error {
	if len(b)%SettledSize != 0 {
		return malformed("outcomes of %d bytes", len(b))
	}
	for ; len(b) > 0; b = b[SettledSize:] {
		o := Outcome(b[8])
		if o >= outcomes {
			return malformed("unknown outcome %d", o)
		}
		f(binary.BigEndian.Uint64(b), o)
	}
	return nil
}

// scanner reads fields from a string; the first that is cut off ends it.
type scanner struct {
	rest string
	bad  bool
}

func (s *scanner) take(n int) string {
	if n > len(s.rest) {
		s.rest, s.bad = "", true
		return ""
	}
	v := s.rest[:n]
	s.rest = s.rest[n:]
	return v
}

func (s *scanner) number(size int) (n uint64) {
	digits := s.take(size)
	for i := range len(digits) {
		n = n<<8 | uint64(digits[i])
	}
	return n
}

// text reads a string behind its length in two bytes.
func (s *scanner) text() string { return s.take(int(s.number(2))) }

// long reads a string behind its length in four bytes.
func (s *scanner) long() string { return s.take(int(min(s.number(4), math.MaxInt32))) }

// end returns what is wrong, if anything.
func (s *scanner) end(what string) error {
	switch {
	case s.bad:
		return malformed("%s is cut off", what)
	case s.rest != "":
		return malformed("%d bytes behind %s", len(s.rest), what)
	}
	return nil
}

// appendText appends a string behind its length in two bytes. Longer ones cannot
// come from a caller that checks with Fits.
func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), math.MaxUint16)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendLong(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
