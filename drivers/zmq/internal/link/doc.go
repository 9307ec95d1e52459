// Package link is the socket layer under the zmq driver: one ZMTP connection to
// one peer, made by a listener or a dialler that strangers cannot hurt.
//
// Package zmq4 is the engine of the greeting, the security handshake and its
// metadata, which are checked byte by byte before it sees them. Its sockets are
// not used: they crash on a few bytes from a stranger, wait for mute peers,
// broadcast where they should balance and lose messages silently. The traffic
// that follows the handshake is framed here, since zmq4 allocates whatever size a
// frame announces; ADR 0010 says more.
//
// A Link has one writer, a flusher that batches; a Write never waits for the
// network. What bounds its buffer is the protocol above: credits, and Room. It
// answers ZMTP's PING, sends its own, and ends when nothing is heard for a while.
package link

import (
	"errors"
	"fmt"
	"time"
)

// Errors of links. Others are those of the network.
var (
	ErrLimit     = errors.New("the peer is over a limit")
	ErrProtocol  = errors.New("the peer does not speak ZMTP")
	ErrAuth      = errors.New("the peer refused the credentials")
	ErrTLS       = errors.New("the connection cannot be secured") // whatever the network does
	ErrMechanism = errors.New("the peer wants another security mechanism")
	ErrSilent    = errors.New("nothing was heard of the peer")
	ErrHungUp    = errors.New("the peer hung up before it said anything") // as a proxy with nobody behind it does
)

// Options bound what a link does. There are no defaults: every field must be set.
type Options struct {
	MaxMessage   int64         // bytes in a message, all its frames together
	Handshake    time.Duration // for greeting and security
	Heartbeat    time.Duration // between PINGs
	Silence      time.Duration // nothing heard for so long: the peer is dead
	WriteTimeout time.Duration // the peer reads nothing for so long: it is dead
}

const (
	greetingSize = 64      // ZMTP 3.x
	maxCommand   = 8 << 10 // of a handshake; of a PING it is 16 bytes and its name
	maxHead      = 64      // bytes of a first frame
	maxFrames    = 3
	readBuffer   = 16 << 10
	step         = 64 << 10 // larger frames are allocated as their bytes come
	smallBody    = 256      // bytes of a body that shares its memory with others:
	blockSize    = 2 << 10  // whoever keeps one keeps so much
	keepBuffer   = 64 << 10 // bytes of each write buffer that an idle link keeps

	// outLimit is how much a peer may leave unread before nothing more is read
	// from it: what it asks for would gather here else.
	outLimit = 1 << 20

	// Partial messages: so long may one be under way, and longer when it is large.
	partial     = 30 * time.Second
	partialRate = 64 << 10 // bytes a second
)

func limitError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrLimit, fmt.Sprintf(format, args...))
}
