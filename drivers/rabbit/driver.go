// Package rabbit is the driver for RabbitMQ over AMQP 0-9-1, in
// oslo.messaging's topology and, by default, its wire format: a Go service can
// join a bus of Python services.
//
//	messaging.Registry{"rabbit": rabbit.Open}.Open(ctx, "rabbit://user:password@host/vhost", nil)
//
// docs/rabbit.md describes the options of the URL and what the broker does and
// does not guarantee.
package rabbit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/tlsurl"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

const (
	scheme    = "rabbit"
	schemeTLS = "rabbit+tls"

	defaultHost = "localhost"
	defaultPort = 5672 // with TLS too, as oslo.messaging has it
	frameSize   = 131072
)

// driver implements messaging.Driver.
type driver struct {
	o      *options
	tls    *tlsurl.Config // nil: none
	memory *memory
	window int

	maxBody int64 // Options.MaxMessage

	patience time.Duration // see lifetime.Lifetime
}

var (
	_ messaging.Driver = (*driver)(nil)
	_ messaging.Sharer = (*driver)(nil)
)

// Open is the messaging.Opener for "rabbit" and "rabbit+tls". It reads the
// files that the URL's ssl_ options name, and opens no connection.
func Open(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
	if u.Scheme != scheme && u.Scheme != schemeTLS {
		return nil, nil, fmt.Errorf("%w: scheme %q: say %s or %s", messaging.ErrInvalidURL, u.Scheme, scheme, schemeTLS)
	}
	o = o.WithDefaults()
	r := u.Options()
	opts := readOptions(u, r)
	tlsConfig, err := tlsurl.Read(readScheme(u, r), o.TLS, r)
	if err := errors.Join(r.Err(), err); err != nil {
		return nil, nil, err
	}
	codecs := []messaging.Codec{wire.Oslo(o.MaxMessage), wire.Native(o.MaxMessage)}
	if opts.wire == wireNative {
		codecs[0], codecs[1] = codecs[1], codecs[0]
	}
	d := &driver{o: opts, tls: tlsConfig, memory: newMemory(opts), window: max(1, o.Window), maxBody: o.MaxMessage}
	d.patience = max(d.writeTimeout(), minPatience)
	return d, codecs, nil
}

// minPatience is the least time in which a broker that lives must answer: a short
// heartbeat is for those that do not live.
const minPatience = 30 * time.Second

// readScheme returns what the option ssl makes of the scheme.
func readScheme(u *messaging.URL, r *messaging.OptionReader) string {
	switch ssl := r.Bool("ssl", u.Scheme == schemeTLS); {
	case ssl:
		return schemeTLS
	case u.Scheme == schemeTLS:
		r.Reject("ssl", "is off, and the scheme is "+schemeTLS)
	}
	return u.Scheme
}

// SingleConn implements messaging.Driver. A broker under a memory alarm stops
// reading from connections that publish, so that those must not also receive.
func (d *driver) SingleConn() bool { return false }

// ShareConn implements messaging.Sharer.
func (d *driver) ShareConn() bool { return d.o.shareConnection }

// Dial implements messaging.Driver.
func (d *driver) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	host := ep.Host
	if host.Host == "" {
		host.Host = defaultHost
	}
	if host.Port == 0 {
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
	socket, err := d.connect(ctx, host)
	if err != nil {
		return nil, err
	}
	raw := coalesce.New(socket, coalesce.Options{Limit: bufferLimit, WriteTimeout: d.writeTimeout()})
	config := d.config(credentials, ep.Name)

	// The library knows no context: closing the socket ends its handshake.
	stop := context.AfterFunc(ctx, raw.Abort)
	under := newFrames(raw, d.maxBody)
	opened, err := amqp.Open(under, config)
	inTime := stop()
	if err != nil || !inTime {
		raw.Abort()
		return nil, errors.Join(err, ctx.Err())
	}
	return newConn(ctx, d, host.String(), under, opened), nil
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

func (d *driver) config(credentials messaging.Credentials, name string) amqp.Config {
	properties := amqp.Table{"product": "patchbay", "platform": "golang", "connection_name": name}
	return amqp.Config{
		SASL:       logins(d.o.login, credentials, properties),
		Vhost:      d.o.vhost,
		Heartbeat:  d.o.heartbeat,
		FrameSize:  frameSize,
		Locale:     "en_US",
		Properties: properties,
	}
}

// writeTimeout is how long a broker may take nothing before it counts as gone:
// as long as it may be silent.
func (d *driver) writeTimeout() time.Duration {
	if d.o.heartbeat > 0 {
		return d.o.heartbeat
	}
	return time.Minute
}
