// Package zmq is the driver without a broker: nodes speak ZeroMQ's protocol to
// each other directly.
//
//	messaging.Registry{"zmq": zmq.Open}.Open(ctx, "zmq://10.0.0.1:9501,10.0.0.2:9501/?…", nil)
//
// A transport is one node. It binds one endpoint when it first listens, and links
// to the endpoints of all others when it sends. "zmq+tls" puts TLS beneath, and
// "zmq+ipc:///run/x" uses the sockets in a directory. docs/zmq.md describes the
// options of the URL, and what can be guaranteed without a broker.
package zmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

const (
	scheme    = "zmq"
	schemeTLS = "zmq+tls"
	schemeIPC = "zmq+ipc"
)

// driver implements messaging.Driver.
type driver struct {
	o        *options
	secure   *secure
	password bool // PLAIN, not NULL
	log      *slog.Logger
	window   int
}

var _ messaging.Driver = (*driver)(nil)

// Open is the messaging.Opener for "zmq", "zmq+tls" and "zmq+ipc" whose nodes
// find each other by the hosts of the URL, or by the directory. It reads the files
// that the URL's ssl_ options name, and opens no connection.
func Open(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
	return open(u, o, nil)
}

// Opener returns Open with other ways for nodes to find each other, which a URL
// chooses with ?discovery=name. A program links the libraries of those alone that
// it names here.
func Opener(backends ...discovery.Backend) messaging.Opener {
	return func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		return open(u, o, backends)
	}
}

func open(u *messaging.URL, o *messaging.Options, backends []discovery.Backend) (messaging.Driver, []messaging.Codec, error) {
	switch u.Scheme {
	case scheme, schemeTLS, schemeIPC:
	default:
		return nil, nil, fmt.Errorf("%w: scheme %q: say %s, %s or %s", messaging.ErrInvalidURL, u.Scheme, scheme, schemeTLS, schemeIPC)
	}
	o = o.WithDefaults()
	r := u.Options()
	opts := readOptions(u, r, backends)
	sec, err := readSecure(u, o.TLS, r, opts.insecure)
	d := &driver{o: opts, secure: sec, log: o.Logger, window: max(1, o.Window), password: o.Credentials != nil}
	for i, h := range u.Hosts {
		d.password = d.password || h.HasUsername
		if first := u.Hosts[0]; h.Username != first.Username || h.Password != first.Password {
			r.Reject("the user of host "+fmt.Sprint(i+1), "differs from that of the first: one is for all")
			break
		}
	}
	known := opts.bind
	if opts.connector == nil {
		for _, h := range u.Hosts {
			known = append(known, h.HostPort())
		}
	}
	sec.checkHosts(r, d.password, known)
	if err := errors.Join(r.Err(), err); err != nil {
		return nil, nil, err
	}
	return d, []messaging.Codec{wire.Native(o.MaxMessage)}, nil
}

// SingleConn implements messaging.Driver: a connection is a node, with links to
// all hosts.
func (d *driver) SingleConn() bool { return true }

// Dial implements messaging.Driver. It starts a node and returns when each
// endpoint that is known was tried once. It fails if none can be used: an endpoint
// where nobody is yet can be, since we may be the first.
func (d *driver) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	c, err := newConn(ctx, d, ep)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", messaging.ErrConnect, err)
	}
	if err := c.client.probe(ctx); err != nil {
		ending, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancel() // nothing is worth waiting for
		_ = c.Close(ending)
		return nil, fmt.Errorf("%w: %w", messaging.ErrConnect, err)
	}
	return c, nil
}
