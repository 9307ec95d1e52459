package rabbit_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
)

// limit bounds what a test waits for, generously.
const limit = 30 * time.Second

// broker is a real one, with a virtual host for the test alone.
type broker struct {
	*brokertest.Broker
	url     string
	options string // what this broker needs
}

// newBroker returns the newest broker.
func newBroker(tb testing.TB) *broker { return newBrokerOf(tb, "4.3") }

func newBrokerOf(tb testing.TB, version string) *broker {
	b := &broker{Broker: brokertest.RabbitMQ(tb, version)}
	tb.Cleanup(func() { noGoroutines(tb) })
	b.url = b.VHost(tb)
	if version == "4.3-strict" {
		b.options = "amqp_durable_queues=true"
	}
	return b
}

// onEach runs a test on every version.
func onEach(t *testing.T, f func(t *testing.T, b *broker)) {
	for _, version := range []string{"3.10", "4.0", "4.3", "4.3-strict"} {
		t.Run(version, func(t *testing.T) { f(t, newBrokerOf(t, version)) })
	}
}

// onOldAndNew runs a test on the oldest version and on the newest.
func onOldAndNew(t *testing.T, f func(t *testing.T, b *broker)) {
	for _, version := range []string{"3.10", "4.3"} {
		t.Run(version, func(t *testing.T) { f(t, newBrokerOf(t, version)) })
	}
}

// URL returns the transport URL with these options and the broker's.
func (b *broker) URL(options string) string {
	if !strings.Contains(options, b.options) {
		options = strings.Trim(b.options+"&"+options, "&")
	}
	if options == "" {
		return b.url
	}
	return b.url + "?" + options
}

// ctl runs rabbitmqctl in the broker.
func (b *broker) ctl(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := b.Exec(tb.Context(), append([]string{"rabbitmqctl", "-q"}, args...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// noGoroutines fails the test if something of the driver still runs.
func noGoroutines(tb testing.TB) {
	tb.Helper()
	var stacks string
	for begin := time.Now(); time.Since(begin) < limit; <-time.After(time.Millisecond) {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "amqp091") && !strings.Contains(stacks, "patchbay/drivers/rabbit.") &&
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

func dialURL(tb testing.TB, url string, d time.Duration) (messaging.Conn, error) {
	tb.Helper()
	u, err := messaging.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	driver, _, err := rabbit.Open(u, (*messaging.Options)(nil).WithDefaults())
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

func text(s string) *messaging.Message {
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

// hasQueue reports whether a queue exists.
func (b *broker) hasQueue(tb testing.TB, name string) bool {
	tb.Helper()
	return b.has(tb, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, false, false, false, false, nil)
		return err
	})
}

// hasExchange reports whether an exchange exists.
func (b *broker) hasExchange(tb testing.TB, name string) bool {
	tb.Helper()
	return b.has(tb, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeFanout, false, false, false, false, nil)
	})
}

func (b *broker) has(tb testing.TB, declare func(*amqp.Channel) error) (found bool) {
	tb.Helper()
	b.raw(tb, func(ch *amqp.Channel) {
		err := declare(ch)
		var e *amqp.Error
		if err != nil && !(errors.As(err, &e) && e.Code == amqp.NotFound) {
			tb.Fatal(err)
		}
		found = err == nil
	})
	return found
}

func (b *broker) deleteQueue(tb testing.TB, name string) {
	tb.Helper()
	b.raw(tb, func(ch *amqp.Channel) {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			tb.Fatal(err)
		}
	})
}

// raw calls f with a channel of the client library.
func (b *broker) raw(tb testing.TB, f func(*amqp.Channel)) {
	tb.Helper()
	c, err := amqp.Dial(strings.Replace(b.url, "rabbit:", "amqp:", 1))
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		tb.Fatal(err)
	}
	f(ch)
}

// silentServer returns the address of a server that accepts and says nothing.
func silentServer(tb testing.TB) string {
	return server(tb, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// hangsUp returns the address of a server that reads a little and hangs up.
func hangsUp(tb testing.TB) string {
	return server(tb, func(c net.Conn) { _, _ = c.Read(make([]byte, 8)) })
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
