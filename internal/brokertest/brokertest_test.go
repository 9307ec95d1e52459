package brokertest_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/internal/brokertest"
)

func dial(t *testing.T, address string) *amqp.Connection {
	t.Helper()
	c, err := amqp.Dial(address)
	if err != nil {
		t.Fatalf("dialling: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func declare(t *testing.T, c *amqp.Connection, queue string, durable bool) error {
	t.Helper()
	ch, err := c.Channel()
	if err != nil {
		t.Fatalf("opening a channel: %v", err)
	}
	_, err = ch.QueueDeclare(queue, durable, false, false, false, nil)
	return err
}

func TestRabbitMQVersions(t *testing.T) {
	tests := []struct {
		version   string
		reports   string // prefix of the version that the broker reports
		transient bool   // transient non-exclusive queues are permitted
	}{
		{version: "3.10", reports: "3.10.", transient: true},
		{version: "4.0", reports: "4.0.", transient: true},
		{version: "4.3", reports: "4.3.", transient: true},
		{version: "4.3-strict", reports: "4.3.", transient: false},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			c := dial(t, brokertest.RabbitMQ(t, tt.version).AMQPURL())
			if got, _ := c.Properties["version"].(string); !strings.HasPrefix(got, tt.reports) {
				t.Errorf("broker reports version %q, want %s*", got, tt.reports)
			}
			if err := declare(t, c, "transient-"+tt.version, false); (err == nil) != tt.transient {
				t.Errorf("declaring a transient queue: %v; permitted should be %t", err, tt.transient)
			}
		})
	}
}

func TestRabbitMQIsShared(t *testing.T) {
	if a, b := brokertest.RabbitMQ(t, "4.3"), brokertest.RabbitMQ(t, "4.3"); a != b {
		t.Errorf("two callers got %s and %s, want one broker", a, b)
	}
}

func TestVHostIsolatesAndIsRemoved(t *testing.T) {
	b := brokertest.RabbitMQ(t, "4.3")
	var seen []string
	for _, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			address := b.VHost(t)
			seen = append(seen, address)
			c := dial(t, strings.Replace(address, "rabbit://", "amqp://", 1))
			// A queue that the other test's virtual host had would refuse
			// to be declared with other arguments.
			if err := declare(t, c, "q", name == "first"); err != nil {
				t.Errorf("declaring a queue: %v", err)
			}
		})
	}
	left, err := b.Exec(t.Context(), "rabbitmqctl", "-q", "list_vhosts")
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range seen {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimPrefix(u.Path, "/"); strings.Contains(left, name) {
			t.Errorf("virtual host %s is still there", name)
		}
	}
}

func TestExecReportsFailure(t *testing.T) {
	b := brokertest.RabbitMQ(t, "4.3")
	_, err := b.Exec(t.Context(), "rabbitmqctl", "no_such_command")
	if err == nil || !strings.Contains(err.Error(), "no_such_command") {
		t.Errorf("Exec: error %v, want one that names the command", err)
	}
}

// TestFaults shows that a durable queue is found again, on the same port, after
// each way to take the broker away.
func TestFaults(t *testing.T) {
	b := brokertest.RabbitMQ(t, "4.3")
	if err := declare(t, dial(t, b.AMQPURL()), "survivor", true); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		down, up func(context.Context) error
	}{
		{"stop_app", b.StopApp, b.StartApp},
		{"kill", b.Kill, b.Start},
		{"pause", b.Pause, b.Unpause},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.down(t.Context()); err != nil {
				t.Fatalf("taking the broker down: %v", err)
			}
			c, err := amqp.DialConfig(b.AMQPURL(), amqp.Config{Dial: amqp.DefaultDial(time.Second)})
			if err == nil {
				_ = c.Close()
				t.Error("the broker answered while it was down")
			}
			if err := tt.up(t.Context()); err != nil {
				t.Fatalf("bringing the broker up: %v", err)
			}
			ch, err := dial(t, b.AMQPURL()).Channel()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ch.QueueDeclarePassive("survivor", true, false, false, false, nil); err != nil {
				t.Errorf("looking the queue up: %v", err)
			}
		})
	}
}
