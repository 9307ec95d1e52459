package brokertest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	rabbitUser = "patchbay"
	rabbitPass = "patchbay"
	amqpPort   = 5672
	mgmtPort   = 15672
)

// A rabbitVersion says how one RabbitMQ differs from the others.
type rabbitVersion struct {
	image  string // the tag that brokers/build-images gives it
	config string // lines of rabbitmq.conf
}

func rabbitVersions() map[string]rabbitVersion {
	return map[string]rabbitVersion{
		"3.10":       {image: "3.10"},
		"4.0":        {image: "4.0"},
		"4.3":        {image: "4.3"},
		"4.3-strict": {image: "4.3", config: "deprecated_features.permit.transient_nonexcl_queues = false\n"},
	}
}

// openRabbitMQ starts a broker, or takes the one that the environment names.
func openRabbitMQ(ctx context.Context, version string, v rabbitVersion) (*Broker, error) {
	b := &Broker{name: "RabbitMQ " + version, up: awaitRabbitMQ}
	const all = "PATCHBAY_TEST_RABBITMQ_URL"
	if given := cmp.Or(os.Getenv(envName("PATCHBAY_TEST_RABBITMQ", version, "URL")), os.Getenv(all)); given != "" {
		if err := b.at(given); err != nil {
			return nil, err
		}
		if err := awaitRabbitMQ(ctx, b); err != nil {
			return nil, fmt.Errorf("%w; it is the broker that %s names, unset it to have one started", err, all)
		}
		return b, nil
	}

	const advice = "`make brokers-up` starts an engine and builds the image; or name a broker that runs in " + all
	bx, err := runBox(ctx, boxSpec{
		image:    "rabbitmq:" + v.image,
		override: os.Getenv(envName("PATCHBAY_RABBITMQ", v.image, "IMAGE")),
		ports:    []int{amqpPort, mgmtPort},
		env: map[string]string{
			"RABBITMQ_DEFAULT_USER": rabbitUser,
			"RABBITMQ_DEFAULT_PASS": rabbitPass,
			// An idle scheduler that spins takes the core that the tests need.
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
		},
		files:    map[string]string{"/etc/rabbitmq/conf.d/90-patchbay.conf": v.config},
		readyLog: "Server startup complete",
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w (%s)", b.name, err, advice)
	}
	b.box = bx
	b.amqp = url.URL{Scheme: "amqp", User: url.UserPassword(rabbitUser, rabbitPass), Host: bx.address(amqpPort), Path: "/"}
	b.mgmt = management{base: "http://" + bx.address(mgmtPort) + "/api", user: rabbitUser, password: rabbitPass}
	return b, awaitRabbitMQ(ctx, b)
}

// envName builds a variable's name: PATCHBAY_RABBITMQ, 4.3, IMAGE gives
// PATCHBAY_RABBITMQ_4_3_IMAGE.
func envName(prefix, version, suffix string) string {
	return prefix + "_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(version)) + "_" + suffix
}

// at makes b the broker of a URL in either form, rabbit:// or amqp://. Its
// management API is taken to be on the same host, on the usual port.
func (b *Broker) at(given string) error {
	u, err := url.Parse(given)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%s: the URL given in the environment must be rabbit:// or amqp1://user:password@host:port/", b.name)
	}
	u.Scheme = strings.NewReplacer("rabbit+tls", "amqps", "rabbit", "amqp", "amqp1+tls", "amqps", "amqp1", "amqp").Replace(u.Scheme)
	if u.User == nil {
		u.User = url.UserPassword("guest", "guest")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(amqpPort))
	}
	b.amqp = *u
	password, _ := u.User.Password()
	base := cmp.Or(os.Getenv("PATCHBAY_TEST_RABBITMQ_MANAGEMENT_URL"),
		"http://"+net.JoinHostPort(u.Hostname(), strconv.Itoa(mgmtPort)))
	b.mgmt = management{base: strings.TrimSuffix(base, "/") + "/api", user: u.User.Username(), password: password}
	return nil
}

// awaitRabbitMQ returns when the broker opens an AMQP connection and answers
// on its management API, both.
func awaitRabbitMQ(ctx context.Context, b *Broker) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := dialRabbitMQ(b.AMQPURL())
		if err == nil {
			err = b.mgmt.get(ctx, "whoami")
		}
		if err == nil {
			return nil
		}
		if b.box == nil {
			return fmt.Errorf("connecting to %s: %w", b, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to accept connections: %w, last: %w", b, ctx.Err(), err)
		}
	}
}

func dialRabbitMQ(address string) error {
	c, err := amqp.DialConfig(address, amqp.Config{Dial: amqp.DefaultDial(5 * time.Second)})
	if err != nil {
		return err
	}
	return c.Close()
}
