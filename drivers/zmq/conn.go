package zmq

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/internal/throttle"
	"github.com/patchbay-go/patchbay/messaging"
)

// conn implements messaging.Conn: a node. It dies when it is closed; links that
// are lost are repaired inside.
type conn struct {
	d      *driver
	o      *options
	log    *slog.Logger
	noise  throttle.Limit // of what strangers can cause
	id     proto.NodeID
	name   string
	hosts  []messaging.HostPort
	links  messaging.Links
	auth   rotating
	window int

	client    *client
	server    *server
	discovery discovery.Discovery

	life    context.Context //nolint:containedctx // of all goroutines
	end     context.CancelFunc
	leaving chan struct{} // closed when Close begins
	done    chan struct{} // closed when it has ended

	linksMu sync.RWMutex // protects the following
	byID    map[uint64]linkRef
	lastID  uint64

	repliesMu sync.RWMutex // protects the following
	replies   map[string]*listener

	mu        sync.Mutex // protects the following
	listeners map[*listener]struct{}
	path      string // of the socket, when it is bound to one
	closing   bool
	starting  bool // no goroutine is started any more when false
	running   sync.WaitGroup
}

// linkRef is the owner of a link: a peer or a session.
type linkRef struct {
	peer    *peer
	session *session
	link    *link.Link
}

var (
	_ messaging.Conn    = (*conn)(nil)
	_ messaging.Awaiter = (*conn)(nil)
)

func newConn(ctx context.Context, d *driver, ep messaging.Endpoint) (*conn, error) {
	c := &conn{
		d: d, o: d.o, log: d.log, name: ep.Name, hosts: ep.Hosts, links: ep.Links, window: d.window,
		leaving: make(chan struct{}), done: make(chan struct{}),
		byID: map[uint64]linkRef{}, replies: map[string]*listener{}, listeners: map[*listener]struct{}{},
		starting: true,
	}
	_, _ = rand.Read(c.id[:]) // never fails, by its contract
	c.auth.ask = ep.Credentials
	if c.links == nil {
		c.links = noLinks{}
	}
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	c.client, c.server = newClient(c), newServer(c)
	if err := c.discover(ctx); err != nil {
		c.end()
		return nil, err
	}
	c.spawn(c.tick)
	return c, nil
}

// discover opens the view of other nodes.
func (c *conn) discover(ctx context.Context) (err error) {
	switch {
	case c.o.connector != nil:
		c.discovery, err = c.o.connector(ctx, discovery.Config{Hosts: c.hosts, Name: c.name, Logger: c.log})
	case c.o.directory != "":
		c.discovery = discovery.Directory(c.o.directory, directoryInterval)
	default:
		c.discovery = discovery.Static(c.staticEndpoints())
	}
	if err != nil {
		return fmt.Errorf("opening the discovery: %w", err)
	}
	if err := c.discovery.Watch(ctx, c.client.see); err != nil {
		_ = c.discovery.Close(ctx)
		return fmt.Errorf("looking for nodes: %w", err)
	}
	return nil
}

// directoryInterval is how soon a socket that appeared is found.
const directoryInterval = 250 * time.Millisecond

// hello returns what we tell a peer of ourselves.
func (c *conn) hello(sources []proto.Source) *proto.HelloBody {
	return &proto.HelloBody{Node: c.id, MaxMessage: uint64(c.o.maxMessage), Name: c.name, Sources: sources}
}

// security is that of links that we open.
func (c *conn) security() link.Security {
	if !c.d.password {
		return nil
	}
	return c.auth.fresh
}

// accepting is the security of links that others open.
func (c *conn) accepting() link.Security {
	if !c.d.password {
		return nil
	}
	return c.auth.recent
}

// spawn runs f on a goroutine that Close waits for. It reports false, and does
// not, once Close is about to.
func (c *conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.starting {
		return false
	}
	c.running.Go(f)
	return true
}

// tick is the goroutine of what has to be done now and then.
func (c *conn) tick() {
	ticker := time.NewTicker(muteTime / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.client.tick()
		case <-c.life.Done():
			return
		}
	}
}

// Capabilities implements messaging.Conn.
func (c *conn) Capabilities() messaging.Capabilities { return c.o.capabilities() }

// Done implements messaging.Conn.
func (c *conn) Done() <-chan struct{} { return c.done }

// Err implements messaging.Conn.
func (c *conn) Err() error {
	select {
	case <-c.done:
		return messaging.ErrClosed
	default:
		return nil
	}
}

// Send implements messaging.Conn.
func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	err := c.send(ctx, to, m, done)
	if err == nil {
		return nil
	}
	if !isNotSent(err) {
		err = notSent(err)
	}
	return &messaging.OpError{Op: "sending to", Addr: to.String(), Err: err}
}

func (c *conn) send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if int64(len(m.Body)) > c.o.maxMessage || !proto.Fits(to.Direct, m) {
		return messaging.ErrTooLarge
	}
	if to.Kind == messaging.KindReply {
		return c.reply(ctx, to.Direct, m, done)
	}
	return c.client.send(ctx, to, m, done)
}

// Await implements messaging.Awaiter.
func (c *conn) Await(ctx context.Context, to messaging.Address, members int) error {
	if to.Kind == messaging.KindReply {
		return nil
	}
	return c.client.await(ctx, to, members)
}

// Listen implements messaging.Conn.
func (c *conn) Listen(ctx context.Context, sub messaging.Subscription) (messaging.Listener, error) {
	if err := checkSubscription(&sub); err != nil {
		return nil, err
	}
	l := newListener(c, sub)
	if sub.Reply == "" {
		if err := c.server.bind(ctx); err != nil {
			return nil, err
		}
		c.client.stop() // unless it was used
	}
	if err := c.startListening(l); err != nil {
		return nil, err
	}
	if sub.Reply == "" {
		if err := c.client.knows(ctx, l); err != nil {
			_ = l.Close(context.WithoutCancel(ctx))
			return nil, err
		}
	}
	return l, nil
}

func (c *conn) startListening(l *listener) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return lostError(errLeaving)
	}
	c.listeners[l] = struct{}{}
	if l.sub.Reply != "" {
		c.repliesMu.Lock()
		defer c.repliesMu.Unlock()
		c.replies[l.sub.Reply] = l
		return nil
	}
	if err := c.server.add(l); err != nil {
		return lostError(err)
	}
	return nil
}

// stopListening says that a listener takes no more or, when closed, that what it
// has in hand is given back.
func (c *conn) stopListening(l *listener, closed bool) {
	if l.sub.Reply != "" {
		c.repliesMu.Lock()
		if c.replies[l.sub.Reply] == l {
			delete(c.replies, l.sub.Reply)
		}
		c.repliesMu.Unlock()
	} else {
		c.server.drop(l, closed)
	}
	if closed {
		c.mu.Lock()
		delete(c.listeners, l)
		c.mu.Unlock()
	}
}

// noLinks is told of links when nobody wants to know.
type noLinks struct{}

func (noLinks) Dialed(string, int, time.Duration, error) {}
func (noLinks) Up()                                      {}
func (noLinks) Down(string, error)                       {}
