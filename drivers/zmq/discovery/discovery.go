// Package discovery is how nodes of the zmq driver find each other: one small
// interface, the two backends that need no library (hosts in the URL, sockets in a
// directory), and, in packages of their own, Redis and gossip.
//
// A backend only adds candidates. Whether a node lives, and where it listens, is
// known from the link to it alone: a registration that vanished closes no link.
package discovery

import (
	"context"
	"log/slog"

	"github.com/patchbay-go/patchbay/messaging"
)

// Discovery is one node's view of the others. It is safe for concurrent use.
// Endpoints are in ZeroMQ's notation: tcp://host:port, ipc:///path/of/a/socket.
type Discovery interface {
	// Register makes this node's endpoint known to others, until the lease is
	// released, or for a short while after the process has died.
	Register(ctx context.Context, endpoint string) (Lease, error)

	// Watch calls see with all endpoints that are known: once before it returns,
	// and again whenever they have changed, until Close. While the place where they
	// are kept cannot be reached the last view stays. It is called once. see does
	// not block.
	Watch(ctx context.Context, see func(endpoints []string)) error

	// Close ends the view, and returns when its goroutines have ended.
	Close(ctx context.Context) error
}

// Lease is a registration. Release tells the others that the node leaves.
type Lease interface {
	Release(ctx context.Context) error
}

// Config is what a Connector gets of the node.
type Config struct {
	Hosts  []messaging.HostPort // of the URL
	Name   string               // of the node, for logs of the peer
	Logger *slog.Logger
}

// Connector opens a view. It is called once for each connection of a driver.
type Connector func(ctx context.Context, c Config) (Discovery, error)

// Backend is a kind of discovery that a URL can choose, with ?discovery=name.
type Backend struct {
	Name string

	// Configure reads the backend's options of the URL. What is wrong with them it
	// tells the reader.
	Configure func(u *messaging.URL, r *messaging.OptionReader) Connector
}
