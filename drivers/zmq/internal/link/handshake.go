package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/go-zeromq/zmq4"
)

// shake makes the ZMTP handshake over nc, with zmq4, and returns what reads the
// traffic that follows. The end of ctx ends it, and so does nc's deadline.
func shake(ctx context.Context, nc net.Conn, server bool, security zmq4.Security, o *Options) (in *bufio.Reader, from *deadlines, err error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	from = &deadlines{Conn: nc}
	g := &guard{Conn: nc, in: bufio.NewReaderSize(from, readBuffer)}
	err = g.open(server, security)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		}
		return nil, nil, err
	}
	from.silence = o.Silence
	return g.in, from, nc.SetDeadline(time.Time{})
}

// guard is the net.Conn under zmq4 during the handshake. It lets nothing through
// that zmq4 could not bear: it reads commands whole and checks them first. It is
// for one goroutine.
type guard struct {
	net.Conn
	in       *bufio.Reader
	out      []byte // written when zmq4 reads next
	greeting [greetingSize]byte
	greeted  int
	checked  []byte // what may be read
	want     string // our mechanism
	why      error  // what ended it, in words that can be matched
}

// open has zmq4 make the handshake.
func (g *guard) open(server bool, security zmq4.Security) (err error) {
	g.want = string(security.Type())
	defer func() {
		// The guard knows of nothing that makes zmq4 panic any more, and zmq4 is
		// large: a stranger must not find more than we did.
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrProtocol, p)
		}
		if err != nil && g.why != nil {
			err = g.why
		}
	}()
	kind := zmq4.Dealer
	if server {
		kind = zmq4.Router
	}
	if _, err := zmq4.Open(g, security, kind, nil, server, nil); err != nil {
		_ = g.flush() // the reason, if the security mechanism gave one
		if g.why == nil && !isNetwork(err) {
			err = fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return err
	}
	return g.flush()
}

func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, ErrAuth)
}

// Write gathers: zmq4 writes a command in two pieces.
func (g *guard) Write(p []byte) (int, error) {
	g.out = append(g.out, p...)
	return len(p), nil
}

func (g *guard) flush() error {
	if len(g.out) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.out)
	g.out = g.out[:0]
	return err
}

// Read returns the greeting, and then commands that were checked.
func (g *guard) Read(p []byte) (int, error) {
	if err := g.flush(); err != nil {
		return 0, g.failed(err)
	}
	if len(g.checked) == 0 {
		if err := g.fill(); err != nil {
			return 0, g.failed(err)
		}
	}
	n := copy(p, g.checked)
	g.checked = g.checked[n:]
	return n, nil
}

func (g *guard) failed(err error) error {
	if g.why == nil {
		g.why = err
	}
	return g.why
}

// fill reads the next piece whole.
func (g *guard) fill() error {
	if g.greeted == 0 {
		return g.readGreeting()
	}
	return g.readCommand()
}

// The first bytes of whoever begins a TLS handshake.
const (
	recordTLS = 22
	majorTLS  = 3
)

// readGreeting reads the greeting and compares the mechanisms, whose difference
// zmq4 does not tell from other errors.
func (g *guard) readGreeting() error {
	n, err := io.ReadFull(g.in, g.greeting[:])
	switch {
	case err == nil:
	case n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return fmt.Errorf("%w: %w", ErrHungUp, err)
	default:
		return err
	}
	g.greeted, g.checked = n, g.greeting[:]
	if g.greeting[0] == recordTLS && g.greeting[1] == majorTLS {
		return fmt.Errorf("%w: it speaks TLS", ErrProtocol)
	}
	if g.greeting[0] != 0xff || g.greeting[9] != 0x7f {
		return fmt.Errorf("%w: no greeting", ErrProtocol)
	}
	if g.greeting[10] < 3 {
		return fmt.Errorf("%w: version %d, want 3 or later", ErrProtocol, g.greeting[10])
	}
	if theirs := mechanism(g.greeting[12:32]); theirs != g.want {
		return fmt.Errorf("%w: theirs is %.20q, ours %q", ErrMechanism, theirs, g.want)
	}
	return nil
}

func mechanism(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// readCommand reads one command of the handshake and checks it.
func (g *guard) readCommand() error {
	flags, err := g.in.ReadByte()
	if err != nil {
		return err
	}
	if flags&^flagLong != flagCommand {
		return fmt.Errorf("%w: a frame with flags %#x in the handshake", ErrProtocol, flags)
	}
	length := 1
	if flags&flagLong != 0 {
		length = 8
	}
	header := make([]byte, 1+length, 1+length+256)
	header[0] = flags
	if _, err := io.ReadFull(g.in, header[1:]); err != nil {
		return unexpected(err)
	}
	var size uint64
	for _, c := range header[1:] {
		size = size<<8 | uint64(c)
	}
	if size > maxCommand {
		return limitError("a command of %d bytes in the handshake", size)
	}
	command := append(header, make([]byte, size)...)
	if _, err := io.ReadFull(g.in, command[1+length:]); err != nil {
		return unexpected(err)
	}
	if err := checkCommand(command[1+length:]); err != nil {
		return err
	}
	g.checked = command
	return nil
}

// checkCommand checks what zmq4 trusts: that a command has a name and that
// metadata is whole.
func checkCommand(b []byte) error {
	name, body, ok := cutCommand(b)
	if !ok {
		return fmt.Errorf("%w: a command without a name", ErrProtocol)
	}
	if name != zmq4.CmdReady && name != zmq4.CmdInitiate {
		return nil
	}
	for len(body) > 0 {
		n := int(body[0])
		if n == 0 || len(body) < 1+n+4 {
			return fmt.Errorf("%w: metadata is cut off", ErrProtocol)
		}
		size := binary.BigEndian.Uint32(body[1+n:])
		body = body[1+n+4:]
		if uint64(size) > uint64(len(body)) {
			return fmt.Errorf("%w: metadata is cut off", ErrProtocol)
		}
		body = body[size:]
	}
	return nil
}
