// Package amqp1 is the driver for brokers that speak AMQP 1.0: Qpid Broker-J,
// ActiveMQ Artemis, RabbitMQ 4 and, with less, any other.
//
//	messaging.Registry{"amqp1": amqp1.Open}.Open(ctx, "amqp1://user:password@host/", nil)
//
// AMQP 1.0 says how messages move over a link and not what a broker has at its
// other end: a profile for each broker does, chosen by what the peer says it is.
// docs/brokers.md describes what each broker must be configured with, what it
// cannot do, and the options of the URL.
package amqp1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/tlsurl"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

const (
	scheme    = "amqp1"
	schemeTLS = "amqp1+tls"

	defaultHost    = "localhost"
	defaultPort    = 5672
	defaultPortTLS = 5671
)

// driver implements messaging.Driver.
type driver struct {
	o       *options
	tls     *tlsurl.Config // nil: none
	window  int
	maxBody int64 // Options.MaxMessage

	patience time.Duration // see lifetime.Lifetime

	mu    sync.Mutex       // protects what follows
	seen  *profile         // of the last peer
	facts map[string]facts // by host and what it says it is
}

// facts are what was found out about a peer by asking it. They are good for a
// while: each connection would spend three round trips on them.
type facts struct {
	caps  messaging.Capabilities
	until time.Time
}

// factsLast is how long a change of a broker's configuration may go unnoticed.
const factsLast = time.Minute

func (d *driver) known(host string) (messaging.Capabilities, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.facts[host]
	return f.caps, ok && time.Now().Before(f.until)
}

func (d *driver) learned(host string, caps messaging.Capabilities) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.facts == nil {
		d.facts = map[string]facts{}
	}
	d.facts[host] = facts{caps, time.Now().Add(factsLast)}
}

var _ messaging.Driver = (*driver)(nil)

// Open is the messaging.Opener for "amqp1" and "amqp1+tls". It reads the files
// that the URL's ssl_ options name, and opens no connection.
func Open(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
	if u.Scheme != scheme && u.Scheme != schemeTLS {
		return nil, nil, fmt.Errorf("%w: scheme %q: say %s or %s", messaging.ErrInvalidURL, u.Scheme, scheme, schemeTLS)
	}
	o = o.WithDefaults()
	r := u.Options()
	opts := readOptions(u, r)
	tlsConfig, err := tlsurl.Read(u.Scheme, o.TLS, r)
	if err := errors.Join(r.Err(), err); err != nil {
		return nil, nil, err
	}
	opts.valueType = wire.OsloAMQP1Type
	codecs := []messaging.Codec{wire.Native(o.MaxMessage), wire.OsloAMQP1(o.MaxMessage)}
	if opts.wire == wireOslo {
		codecs[0], codecs[1] = codecs[1], codecs[0]
	}
	d := &driver{o: opts, tls: tlsConfig, window: max(1, o.Window), maxBody: o.MaxMessage}
	d.patience = max(d.silence(), minPatience)
	return d, codecs, nil
}

// minPatience is the least time in which a peer that lives must answer: a short idle
// timeout is for those that do not live.
const minPatience = 30 * time.Second

// SingleConn implements messaging.Driver. A broker that is short of memory stops
// reading from connections that send, so that those must not also receive.
func (d *driver) SingleConn() bool { return false }

// Dial implements messaging.Driver.
func (d *driver) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	host := ep.Host
	if host.Host == "" {
		host.Host = defaultHost
	}
	switch {
	case host.Port != 0:
	case d.tls != nil:
		host.Port = defaultPortTLS
	default:
		host.Port = defaultPort
	}
	c, err := d.dial(ctx, host, ep)
	if err != nil {
		return nil, &messaging.OpError{Op: "connecting to", Addr: host.String(), Err: explainDial(ctx, err)}
	}
	return c, nil
}

func (d *driver) dial(ctx context.Context, host messaging.HostPort, ep messaging.Endpoint) (*conn, error) {
	credentials, err := ep.Credentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for credentials: %w", err)
	}
	assumed := d.expected()
	under, opened, err := d.open(ctx, host, ep.Name, credentials, assumed)
	if err != nil {
		return nil, err
	}
	product, version := peer(opened.Properties())
	p := d.o.profile
	if p == nil {
		p = profileOf(product)
	}
	d.met(p)
	if d.o.management != nil {
		if p = p.managed; p == nil {
			under.Abort()
			_ = opened.Close()
			return nil, joined(messaging.ErrPermanent, fmt.Errorf("the option management is for brokers that have such a port, and not for %q", product))
		}
	}
	if d.o.vhost != "" && p.hostname(d.o.vhost) != assumed.hostname(d.o.vhost) {
		// The virtual host had to be named before the peer said what it is.
		under.Abort()
		_ = opened.Close()
		if under, opened, err = d.open(ctx, host, ep.Name, credentials, p); err != nil {
			return nil, err
		}
	}
	c := newConn(ctx, d, p, host.String(), under, opened, credentials)
	key := host.String() + " " + product + " " + version
	if caps, ok := d.known(key); ok {
		c.caps = caps
		return c, nil
	}
	if err := c.prepare(ctx, version); err != nil {
		_ = c.Close(ctx)
		return nil, err
	}
	d.learned(key, c.caps)
	return c, nil
}

// expected is the profile of the peer as far as it is known before it spoke. If
// it is not, it is RabbitMQ's: that does not answer who asks for a virtual host in
// another way and may not use its default one, where others say what they are.
func (d *driver) expected() *profile {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.o.profile != nil:
		return d.o.profile
	case d.seen != nil:
		return d.seen
	}
	return rabbitMQ()
}

func (d *driver) met(p *profile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = p
}

// open opens a connection of the client library.
func (d *driver) open(ctx context.Context, host messaging.HostPort, name string, credentials messaging.Credentials, p *profile) (*frames, *amqp.Conn, error) {
	nc, err := d.connect(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	raw := coalesce.New(nc, coalesce.Options{Limit: bufferLimit, WriteTimeout: d.silence()})
	hostname := host.Host
	if d.o.vhost != "" {
		hostname = p.hostname(d.o.vhost)
	}
	// The library heeds ctx by closing the socket, and waits for a peer to take
	// the bytes of its own close: not here.
	stop := context.AfterFunc(ctx, raw.Abort)
	under := newFrames(raw, d.o.idleTimeout, d.maxBody, d.o.valueType)
	opened, err := amqp.NewConn(context.WithoutCancel(ctx), under, &amqp.ConnOptions{
		ContainerID:  containerID(d.o.container, name),
		HostName:     hostname,
		IdleTimeout:  d.o.idle(),
		MaxFrameSize: frameSize,
		Properties:   map[string]any{"product": "patchbay", "platform": "golang", "connection_name": name},
		SASLType:     login(d.o.mechanisms, credentials),
		WriteTimeout: -1, // coalesce has its own
	})
	inTime := stop()
	if err != nil || !inTime {
		raw.Abort()
		return nil, nil, errors.Join(err, ctx.Err())
	}
	under.patient.open.Store(true)
	return under, opened, nil
}

// connect opens the socket, with TLS if the scheme says so.
func (d *driver) connect(ctx context.Context, host messaging.HostPort) (net.Conn, error) {
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, "tcp", host.String())
	if err != nil || d.tls == nil {
		return socket, err
	}
	secure := tls.Client(socket, d.tls.ForHost(host.Host))
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = socket.Close()
		return nil, err
	}
	return secure, nil
}

// silence is how long a broker may take nothing before it counts as gone: as
// long as it may be silent.
func (d *driver) silence() time.Duration {
	if d.o.idleTimeout > 0 {
		return d.o.idleTimeout
	}
	return time.Minute
}

// peer returns what a broker says it is.
func peer(properties map[string]any) (product, version string) {
	product, _ = properties["product"].(string)
	version, _ = properties["version"].(string)
	return product, version
}
