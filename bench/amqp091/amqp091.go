// Package amqp091 measures RabbitMQ's client library without anything of this
// module above it: plainly, as its documentation shows, and as well as it can
// be used.
package amqp091

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/internal/coalesce"
)

// Naive returns the library as its documentation shows it: direct reply-to for
// calls, each request acknowledged by itself, each publish waiting for its own
// confirmation, one channel on each side.
func Naive() bench.System { return system{} }

// Alike is Naive with the messages of a driver for oslo.messaging: calls whose
// replies come through an exclusive queue, ours in size and properties. They are
// made once; nothing is encoded or decoded.
func Alike() bench.System { return system{alike: true} }

// Tuned returns the library under a connection that makes few writes of many,
// with acknowledgements in batches.
func Tuned() bench.System { return system{tuned: true} }

type system struct{ tuned, alike bool }

// prefetch is the least, and above all that is in flight in a usual run: less
// would cost a multiple.
const prefetch = 256

// name is that of queue and exchange: not the one of others, whose flags differ.
func name(s *bench.Spec) string { return s.Topic + "-amqp091" }

// directReplyTo is RabbitMQ's pseudo-queue for replies.
const directReplyTo = "amq.rabbitmq.reply-to"

// InMemory implements bench.System.
func (system) InMemory(*bench.Spec) bool { return false }

// link is a connection with its one channel.
type link struct {
	conn *amqp.Connection
	ch   *amqp.Channel
}

// open connects to the host of a rabbit:// URL. Its options are the driver's,
// and do not count here.
func (y system) open(ctx context.Context, s *bench.Spec) (*link, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, errors.New("the library wants a URL of one host: rabbit://user:password@host:port/vhost")
	}
	address := *u
	address.Scheme = strings.NewReplacer("rabbit+tls", "amqps", "rabbit", "amqp").Replace(u.Scheme)
	address.RawQuery = ""
	conn, err := amqp.DialConfig(address.String(), amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil { // the library ends it once it is open
			return nil, errors.Join(err, nc.Close())
		}
		if y.tuned {
			return coalesce.New(nc, coalesce.Options{}), nil
		}
		return nc, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", u.Redacted(), err)
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &link{conn: conn, ch: ch}, nil
}

// Close implements bench.Closer.
func (l *link) Close(context.Context) error { return l.conn.Close() }
