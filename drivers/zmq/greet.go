package zmq

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// open makes one attempt: a link, and the exchange of greetings over it. The
// peer that it returns is up.
func (cd *candidate) open() (*peer, error) {
	c := cd.client.c
	lk, err := cd.dial()
	if err != nil {
		return nil, explainDial(err)
	}
	hello, err := greet(cd.life, lk, &c.o.link, c.hello(nil))
	if err != nil {
		lk.Abort(err)
		return nil, explainDial(err)
	}
	p, err := cd.client.join(cd, lk, hello)
	if err != nil {
		bye(lk, err.Error())
		_ = lk.Close()
		return nil, err
	}
	return p, nil
}

func (cd *candidate) dial() (*link.Link, error) {
	c := cd.client.c
	ctx, cancel := context.WithTimeout(cd.life, c.o.link.Handshake) // of all its steps together
	defer cancel()
	network, address, _ := strings.Cut(cd.endpoint, "://")
	switch network {
	case "inproc":
		return c.server.pipe()
	case "ipc":
		if err := c.checkPrivate(filepath.Dir(address), true); err != nil {
			return nil, err
		}
		return link.Dial(ctx, "unix", address, nil, c.security(), &c.o.link, nil)
	case "tcp":
	default:
		return nil, fmt.Errorf("%w: endpoint %q: want tcp:// or ipc://", messaging.ErrPermanent, cd.endpoint)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: endpoint %q: %w", messaging.ErrPermanent, cd.endpoint, err)
	}
	return link.Dial(ctx, "tcp", address, c.d.secure.client(host), c.security(), &c.o.link, func(nc net.Conn) error {
		return c.d.secure.checkDial(nc.RemoteAddr(), c.d.password)
	})
}

// greet exchanges greetings, as long as life lasts and within the time for a handshake.
func greet(life context.Context, lk *link.Link, o *link.Options, ours *proto.HelloBody) (*proto.HelloBody, error) {
	defer hurry(life, lk, o)()
	if err := sendHello(lk, ours); err != nil {
		return nil, err
	}
	return receiveHello(lk)
}

// hurry ends a link when life or the time for a handshake does, unless its greeting has
// come and it is told so.
func hurry(life context.Context, lk *link.Link, o *link.Options) (greeted func()) {
	ctx, cancel := context.WithTimeoutCause(life, o.Handshake, fmt.Errorf("%w: no greeting in %v", link.ErrSilent, o.Handshake))
	stop := context.AfterFunc(ctx, func() { lk.Abort(context.Cause(ctx)) })
	return func() {
		stop()
		cancel()
	}
}

func sendHello(lk *link.Link, ours *proto.HelloBody) error {
	head := proto.Head{Kind: proto.Hello}
	b := link.AppendFrame(nil, head.Append(nil), true)
	return lk.Write(link.AppendFrame(b, proto.AppendHello(nil, ours), false))
}

func receiveHello(lk *link.Link) (*proto.HelloBody, error) {
	var m link.Message
	if err := lk.Read(&m); err != nil {
		return nil, err
	}
	head, err := parse(&m)
	switch {
	case err != nil:
		return nil, err
	case head.Kind == proto.Bye:
		return nil, fmt.Errorf("%w: %.200q", errLeft, m.Second)
	case head.Kind != proto.Hello:
		return nil, errNoHello
	}
	return proto.ParseHello(m.Second)
}

// parse reads the head of a message and checks the number of its frames.
func parse(m *link.Message) (proto.Head, error) {
	var h proto.Head
	if err := h.Parse(m.Head); err != nil {
		return h, err
	}
	if m.Frames != h.Kind.Frames() {
		return h, fmt.Errorf("%w: %s of %d frames", proto.ErrMalformed, h.Kind, m.Frames)
	}
	return h, nil
}

// bye says that the link is closed in good order.
func bye(lk *link.Link, why string) {
	head := proto.Head{Kind: proto.Bye}
	b := link.AppendFrame(nil, head.Append(nil), true)
	_ = lk.Write(link.AppendFrame(b, []byte(why), false)) // whoever does not hear it sees the connection end
}
