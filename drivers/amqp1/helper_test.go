package amqp1_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/amqp1"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
)

// limit bounds what a test waits for, generously.
const limit = 30 * time.Second

// broker is a real one, as a test sees it.
type broker struct {
	*brokertest.Broker
	column string // of the table in docs/semantics.md
	url    string
	rabbit bool
}

func newBrokerJ(tb testing.TB) *broker {
	return newBroker(tb, &broker{Broker: brokertest.BrokerJ(tb), column: "Broker-J"})
}

func newArtemis(tb testing.TB) *broker {
	return newBroker(tb, &broker{Broker: brokertest.Artemis(tb), column: "Artemis"})
}

func newRabbitMQ(tb testing.TB, version string) *broker {
	return newBroker(tb, &broker{Broker: brokertest.RabbitMQ(tb, version), column: "RabbitMQ " + version, rabbit: true})
}

func newBroker(tb testing.TB, b *broker) *broker {
	tb.Cleanup(func() { noGoroutines(tb) })
	b.url = b.AMQP1URL()
	if b.rabbit {
		b.url = brokertest.AMQP1(b.VHost(tb))
	}
	return b
}

// onEach runs a test on every broker.
func onEach(t *testing.T, f func(t *testing.T, b *broker)) {
	t.Run("Broker-J", func(t *testing.T) { f(t, newBrokerJ(t)) })
	t.Run("Artemis", func(t *testing.T) { f(t, newArtemis(t)) })
	for _, version := range []string{"4.0", "4.3"} {
		t.Run(version, func(t *testing.T) { f(t, newRabbitMQ(t, version)) })
	}
}

// URL returns the transport URL with these options.
func (b *broker) URL(options string) string {
	if options == "" {
		return b.url
	}
	return b.url + "?" + options
}

// own returns the URL with a user of the test's own, if there can be one.
func (b *broker) own(tb testing.TB, password string) string {
	tb.Helper()
	if !b.rabbit {
		return b.url
	}
	return brokertest.AMQP1(b.User(tb, b.url, password))
}

// restart stops the broker in good order and starts it again.
func (b *broker) restart(ctx context.Context) error {
	if b.rabbit {
		if err := b.StopApp(ctx); err != nil {
			return err
		}
		return b.StartApp(ctx)
	}
	if err := b.Stop(ctx); err != nil {
		return err
	}
	return b.Start(ctx)
}

// host returns the broker's address.
func (b *broker) host(tb testing.TB) string {
	tb.Helper()
	host, _, _ := splitURL(tb, b.url)
	return host
}

// splitURL returns the parts of a URL.
func splitURL(tb testing.TB, address string) (host, vhost, query string) {
	tb.Helper()
	u := parsed(tb, address)
	return u.Host, strings.TrimPrefix(u.Path, "/"), u.RawQuery
}

func parsed(tb testing.TB, address string) *url.URL {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// noGoroutines fails the test if something of the driver still runs.
func noGoroutines(tb testing.TB) {
	tb.Helper()
	var stacks string
	for begin := time.Now(); time.Since(begin) < limit; <-time.After(time.Millisecond) {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "go-amqp") && !strings.Contains(stacks, "patchbay/drivers/amqp1.") &&
			!strings.Contains(stacks, "internal/coalesce.") {
			return
		}
	}
	tb.Errorf("goroutines are left:\n%s", stacks)
}

func within(tb testing.TB, d time.Duration) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
}

// dial opens a connection that is closed when the test ends.
func dial(tb testing.TB, b *broker, options string) messaging.Conn {
	tb.Helper()
	c, err := dialURL(tb, b.URL(options), limit)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func dialURL(tb testing.TB, address string, d time.Duration) (messaging.Conn, error) {
	tb.Helper()
	u, err := messaging.ParseURL(address)
	if err != nil {
		tb.Fatal(err)
	}
	driver, _, err := amqp1.Open(u, (*messaging.Options)(nil).WithDefaults())
	if err != nil {
		return nil, err
	}
	ep := messaging.Endpoint{Name: tb.Name(), Credentials: func(context.Context) (messaging.Credentials, error) {
		return messaging.Credentials{}, nil
	}}
	if len(u.Hosts) > 0 {
		h := u.Hosts[0]
		ep.Host = h.HostPort()
		ep.Credentials = func(context.Context) (messaging.Credentials, error) {
			return messaging.Credentials{Username: h.Username, Password: h.Password}, nil
		}
	}
	c, err := driver.Dial(within(tb, d), ep)
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			tb.Errorf("Close = %v", err)
		}
	})
	return c, nil
}

func sources(as ...messaging.Address) messaging.Subscription {
	return messaging.Subscription{Sources: as, Instance: "i" + rand.Text(), Prefetch: 64}
}

// listen subscribes, and closes the listener when the test ends.
func listen(tb testing.TB, c messaging.Conn, sub messaging.Subscription) messaging.Listener {
	tb.Helper()
	if sub.Prefetch == 0 {
		sub.Prefetch = 64
	}
	l, err := c.Listen(within(tb, limit), sub)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			tb.Errorf("Listener.Close = %v", err)
		}
	})
	return l
}

// result is a Completion that can be waited for.
type result chan error

func (r result) Complete(err error) { r <- err }

func (r result) wait(tb testing.TB) error {
	tb.Helper()
	select {
	case err := <-r:
		return err
	case <-time.After(limit):
		tb.Fatal("no outcome")
		return nil
	}
}

// send sends and waits for the outcome.
func send(tb testing.TB, c messaging.Conn, to messaging.Address, m *messaging.Message) error {
	tb.Helper()
	r := make(result, 1)
	if err := c.Send(within(tb, limit), to, m, r); err != nil {
		return err
	}
	return r.wait(tb)
}

func mustSend(tb testing.TB, c messaging.Conn, to messaging.Address, m *messaging.Message) {
	tb.Helper()
	if err := send(tb, c, to, m); err != nil {
		tb.Fatal(err)
	}
}

func poll(tb testing.TB, l messaging.Listener) *messaging.Delivery {
	tb.Helper()
	d, err := l.Poll(within(tb, limit))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func settle(tb testing.TB, d *messaging.Delivery, o messaging.Outcome) {
	tb.Helper()
	if err := d.Settle(tb.Context(), o); err != nil {
		tb.Fatal(err)
	}
}

func body(s string) *messaging.Message {
	return &messaging.Message{ContentType: "application/json", ContentEncoding: "utf-8", Body: []byte(s)}
}

// topic returns a topic, in an exchange, that no other test uses.
func topic() messaging.Address {
	name := "t" + rand.Text()
	return messaging.Address{Exchange: "x-" + name, Topic: name}
}

func wantErr(tb testing.TB, err error, targets ...error) {
	tb.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			tb.Errorf("error %q does not match %q", err, target)
		}
	}
}

// server returns the address of a server that calls f for each connection.
func server(tb testing.TB, f func(net.Conn)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// silentServer returns the address of a server that accepts and says nothing.
func silentServer(tb testing.TB) string {
	return server(tb, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// hangsUp returns the address of a server that reads a little and hangs up.
func hangsUp(tb testing.TB) string {
	return server(tb, func(c net.Conn) { _, _ = c.Read(make([]byte, 8)) })
}

// speaks returns the address of a server that says something, whatever it hears.
func speaks(tb testing.TB, words string) string {
	return server(tb, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 8))
		_, _ = io.WriteString(c, words)
		_, _ = io.Copy(io.Discard, c)
	})
}
