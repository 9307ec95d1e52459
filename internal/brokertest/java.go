package brokertest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// The user of the Java brokers, as their configuration files in brokers/ have it.
const (
	javaUser = "patchbay"
	javaPass = "ch4nge-me"
)

// A javaBroker says how to run one of the brokers that are written in Java and
// speak AMQP 1.0.
type javaBroker struct {
	name  string // for messages
	image string // name and tag that brokers/build-images gives it
	env   string // part of the names of its environment variables
	ready string // what its log says once it is up
	rest  bool   // it has a REST port
}

// restPort is Broker-J's.
const restPort = 8080

// BrokerJ returns the Qpid Broker-J 9.2 broker, and starts it when it is the
// first to ask. Its configuration is brokers/qpidj/initial.json. It fails the
// test when there is no such broker and none can be started.
func BrokerJ(tb testing.TB) *Broker {
	tb.Helper()
	return openJava(tb, javaBroker{
		name: "Qpid Broker-J 9.2", image: "qpidj:9.2", env: "QPIDJ", ready: "BRK-1004", rest: true,
	})
}

// Artemis returns the ActiveMQ Artemis 2.39 broker, and starts it when it is
// the first to ask. Its configuration is brokers/artemis/broker.xml. It fails
// the test when there is no such broker and none can be started.
func Artemis(tb testing.TB) *Broker {
	tb.Helper()
	return openJava(tb, javaBroker{
		name: "ActiveMQ Artemis 2.39", image: "artemis:2.39", env: "ARTEMIS", ready: "AMQ221007",
	})
}

func openJava(tb testing.TB, j javaBroker) *Broker {
	tb.Helper()
	b, err := shared.broker(j.name, func() (*Broker, error) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), startTimeout)
		defer cancel()
		b, err := startJava(ctx, j)
		if err == nil {
			tb.Logf("brokertest: %s ready after %.1f s", b, time.Since(begin).Seconds())
		}
		return b, err
	})
	if err != nil {
		tb.Fatalf("brokertest: %v", err)
	}
	return b
}

// startJava starts a broker, or takes the one that the environment names.
func startJava(ctx context.Context, j javaBroker) (*Broker, error) {
	b := &Broker{name: j.name, up: awaitAMQP1}
	variable := "PATCHBAY_TEST_" + j.env + "_URL"
	if given := os.Getenv(variable); given != "" {
		if err := b.at(given); err != nil {
			return nil, err
		}
		base := cmp.Or(os.Getenv("PATCHBAY_TEST_"+j.env+"_MANAGEMENT_URL"),
			"http://"+net.JoinHostPort(b.amqp.Hostname(), strconv.Itoa(restPort)))
		b.mgmt.base = strings.TrimSuffix(base, "/")
		if err := awaitAMQP1(ctx, b); err != nil {
			return nil, fmt.Errorf("%w; it is the broker that %s names, unset it to have one started", err, variable)
		}
		return b, nil
	}
	ports := []int{amqpPort}
	if j.rest {
		ports = append(ports, restPort)
	}
	bx, err := runBox(ctx, boxSpec{
		image:    j.image,
		override: os.Getenv("PATCHBAY_" + j.env + "_IMAGE"),
		ports:    ports,
		readyLog: j.ready,
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w (`make brokers-up` starts an engine and builds the image; or name a broker that runs in %s)",
			b.name, err, variable)
	}
	b.box = bx
	if j.rest {
		b.mgmt = management{base: "http://" + bx.address(restPort), user: javaUser, password: javaPass}
	}
	b.amqp = url.URL{Scheme: "amqp", User: url.UserPassword(javaUser, javaPass), Host: bx.address(amqpPort), Path: "/"}
	return b, awaitAMQP1(ctx, b)
}

// awaitAMQP1 returns when the broker opens an AMQP 1.0 session: Broker-J opens
// its port before its virtual host.
func awaitAMQP1(ctx context.Context, b *Broker) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := dialAMQP1(ctx, b.AMQPURL())
		switch {
		case err == nil:
			return nil
		case b.box == nil:
			return fmt.Errorf("connecting to %s: %w", b, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to accept connections: %w", b, cmp.Or(err, ctx.Err()))
		}
	}
}

func dialAMQP1(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := amqp.Dial(ctx, address, nil)
	if err != nil {
		return err
	}
	_, err = c.NewSession(ctx, nil)
	_ = c.Close() // what matters is whether it opened
	return err
}

// BareVHost creates a virtual host of Broker-J's for this test alone that makes no queues
// by itself, and returns the transport URL that reaches it and the address of the REST
// port. It is removed when the test ends.
func (b *Broker) BareVHost(tb testing.TB) (transport, rest string) {
	tb.Helper()
	name := "test-" + strings.ToLower(rand.Text()[:10])
	ctx := context.WithoutCancel(tb.Context())
	path := "api/latest/virtualhostnode/" + name
	if err := b.mgmt.do(ctx, http.MethodPut, path, `{"type": "JSON", "virtualHostInitialConfiguration": "{\"type\": \"Memory\"}"}`); err != nil {
		tb.Fatalf("brokertest: %s: creating a virtual host: %v", b, err)
	}
	tb.Cleanup(func() {
		if err := b.mgmt.delete(ctx, path); err != nil {
			tb.Errorf("brokertest: %s: removing the test's virtual host: %v", b, err)
		}
	})
	u := b.amqp
	u.Path = "/" + name
	return AMQP1(u.String()), b.mgmt.base
}

// AMQP1URL returns the transport URL of the broker's default virtual host for
// AMQP 1.0: amqp1://user:password@host:port/.
func (b *Broker) AMQP1URL() string { return AMQP1(b.AMQPURL()) }

// AMQP1 returns a URL that VHost, User or URL returned in the scheme for AMQP 1.0.
func AMQP1(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.Scheme = "amqp1"
	return u.String()
}
