package brokertest

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

const redisPort = 6379

// Redis returns a Redis, and starts it when this is the first to ask: a store in
// memory, where tests find each other. Its URL is redis://host:port. It fails the
// test when there is none and none can be started.
func Redis(tb testing.TB) *Broker {
	tb.Helper()
	b, err := shared.broker("Redis", func() (*Broker, error) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), startTimeout)
		defer cancel()
		b, err := openRedis(ctx)
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

// openRedis starts a store, or takes the one that the environment names.
func openRedis(ctx context.Context) (*Broker, error) {
	b := &Broker{name: "Redis", up: awaitRedis}
	const given = "PATCHBAY_TEST_REDIS_URL"
	if at := os.Getenv(given); at != "" {
		u, err := url.Parse(at)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("%s: the URL in %s must be redis://host:port", b.name, given)
		}
		b.amqp = url.URL{Scheme: "redis", Host: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), fmt.Sprint(redisPort)))}
		return b, awaitRedis(ctx, b)
	}
	bx, err := runBox(ctx, boxSpec{
		image:    "redis:8.0",
		override: os.Getenv("PATCHBAY_REDIS_8_0_IMAGE"),
		ports:    []int{redisPort},
		readyLog: "Ready to accept connections",
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w (`make brokers-up` starts an engine and builds the image; or name one that runs in %s)", b.name, err, given)
	}
	b.box = bx
	b.amqp = url.URL{Scheme: "redis", Host: bx.address(redisPort)}
	return b, awaitRedis(ctx, b)
}

// awaitRedis returns when the store answers.
func awaitRedis(ctx context.Context, b *Broker) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := pingRedis(ctx, b.amqp.Host)
		if err == nil {
			return nil
		}
		if b.box == nil {
			return fmt.Errorf("connecting to %s: %w", b, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to answer: %w, last: %w", b, ctx.Err(), err)
		}
	}
}

func pingRedis(ctx context.Context, address string) error {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+PONG") {
		err = fmt.Errorf("it says %.40q", line)
	}
	return err
}
