// Package amqp10 measures the client library for AMQP 1.0 without anything of
// this module above it, as its documentation shows, on Qpid Broker-J and
// ActiveMQ Artemis with the configuration that docs/brokers.md gives.
package amqp10

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/internal/coalesce"
)

// Settled returns the library with requests, replies and casts that are settled
// when they are sent: nobody says that they arrived.
func Settled() bench.System { return system{settled: true} }

// Unsettled returns the library with each cast waiting for its own outcome; calls
// are as Settled's.
func Unsettled() bench.System { return system{} }

// Tuned returns Settled under a connection that makes few writes of many.
func Tuned() bench.System { return system{settled: true, tuned: true} }

type system struct{ settled, tuned bool }

// credit is the least, and above all that is in flight in a usual run: less
// would cost a multiple.
const credit = 256

// InMemory implements bench.System.
func (system) InMemory(*bench.Spec) bool { return false }

// link is a connection with its one session.
type link struct {
	conn    *amqp.Conn
	session *amqp.Session
	artemis bool
}

// open connects to the host of an amqp1:// URL. Its options are the driver's,
// and do not count here.
func (y system) open(ctx context.Context, s *bench.Spec) (*link, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, errors.New("the library wants a URL of one host: amqp1://user:password@host:port/")
	}
	var nc net.Conn
	if nc, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", u.Redacted(), err)
	}
	if y.tuned {
		nc = coalesce.New(nc, coalesce.Options{})
	}
	password, _ := u.User.Password()
	conn, err := amqp.NewConn(ctx, nc, &amqp.ConnOptions{
		HostName: u.Hostname(), SASLType: amqp.SASLTypePlain(u.User.Username(), password),
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", u.Redacted(), errors.Join(err, nc.Close()))
	}
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	product, _ := conn.Properties()["product"].(string)
	if strings.HasPrefix(product, "RabbitMQ") {
		return nil, errors.Join(errors.New("RabbitMQ's queues have to be declared, which the library cannot"), conn.Close())
	}
	return &link{conn, session, strings.Contains(product, "artemis")}, nil
}

// Close implements bench.Closer.
func (l *link) Close(context.Context) error { return l.conn.Close() }

// address is that of the pattern's node, with the capability that says what it
// is, and the subject that messages to it have.
func (l *link) address(s *bench.Spec, receiving bool) (address, subject string, capabilities []string) {
	name := s.Topic + "-raw"
	switch {
	case s.Pattern != bench.Fanout:
		return "rpc." + name, "", []string{"queue"}
	case l.artemis:
		return "fanout." + name, "", []string{"topic"}
	case receiving:
		return "amq.direct/fanout." + name, "", nil
	}
	return "amq.direct", "fanout." + name, nil
}

func (l *link) sender(ctx context.Context, address string, capabilities []string, settled bool) (*amqp.Sender, error) {
	mode := amqp.SenderSettleModeUnsettled
	if settled {
		mode = amqp.SenderSettleModeSettled
	}
	if !l.artemis {
		capabilities = nil
	}
	return l.session.NewSender(ctx, address, &amqp.SenderOptions{SettlementMode: &mode, TargetCapabilities: capabilities})
}
