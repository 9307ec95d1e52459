package rabbit_test

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/internal/semantics"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestConformance runs the public suite on every version of the broker. One that
// refuses what is deprecated differs in what can be declared: there run the cases of
// that, and those in which it is declared again.
func TestConformance(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		options, run := "", ""
		if strings.HasPrefix(b.Broker.String(), "RabbitMQ 4.3-strict ") {
			run = "^(cast_(one|to)|call_reply|fanout_(all|excludes|new)|notify_(one|tap|requeued)|ready_means|listener_alive|cut_during_call|durable|open_twice)"
		}
		if strings.HasPrefix(b.Broker.String(), "RabbitMQ 3.") {
			// Its own limit is 128 MiB: to encode that much keeps a small machine
			// from its heartbeats.
			options = "max_message_size=16777216"
		}
		report := conformance.RunWith(t, harness(t, b, options), conformance.Options{Volume: 0.1, Run: run})
		if strings.HasPrefix(b.Broker.String(), "RabbitMQ 4.3 ") {
			describes(t, "rabbit", report)
		}
	})
}

// TestConformanceDurable proves the capabilities that options add.
func TestConformanceDurable(t *testing.T) {
	b := newBroker(t)
	t.Run("classic", func(t *testing.T) {
		conformance.RunWith(t, harness(t, b, "amqp_durable_queues=true"), conformance.Options{
			Volume: 0.1, Levels: []conformance.Level{conformance.LevelCapability, conformance.LevelFault},
		})
	})
	t.Run("quorum", func(t *testing.T) {
		h := harness(t, b, "rabbit_quorum_queue=true&rabbit_transient_quorum_queue=true")
		h.Scale = 2 // each message is written to a disk, which others use too
		describes(t, "quorum queues", conformance.RunWith(t, h, conformance.Options{Volume: 0.1}))
	})
}

// TestConformancePrivateQueues proves the other kinds of fanout and reply queues, and
// replies without one, by the cases that use them.
func TestConformancePrivateQueues(t *testing.T) {
	for name, tt := range map[string]struct{ options, run string }{
		"stream": {
			streamOptions + "&rabbit_quorum_queue=true", "^(fanout_|ready_means|ack_once|running_redelivery|listener_alive|cut_idle|drain_finishes)",
		},
		"managed": {
			managed, "^(fanout_(all|excludes|new)|open_twice|call_(reply|1000)|reply_address|cut_during_call|listener_alive|notify_tap)",
		},
		"no reply queue": {
			directOption, "^(call_|monitor|nested|reply_|cut_|listener_alive|drain_|open_twice|blackhole|no_)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			conformance.RunWith(t, harness(t, newBroker(t), tt.options), conformance.Options{Volume: 0.1, Run: tt.run})
		})
	}
}

// TestConformanceSharedConnection proves that listening and sending can share a
// connection: by all cases but those of what one message can hold.
func TestConformanceSharedConnection(t *testing.T) {
	conformance.RunWith(t, harness(t, newBroker(t), "share_connection=true"), conformance.Options{
		Volume: 0.1, Run: "^([^c]|c[^a]|call|cast_([^bhp]|be))",
	})
}

// describes compares the documentation with a run, unless it was one of chosen
// cases only.
func describes(t *testing.T, column string, r *conformance.Report) {
	t.Helper()
	if len(r.Cases) == len(conformance.List()) {
		semantics.Check(t, semantics.Document, column, r)
	}
}

// harness reaches the broker through a proxy that can cut the links.
func harness(t *testing.T, b *broker, options string) conformance.Harness {
	t.Helper()
	options = strings.Trim(options+"&heartbeat_timeout_threshold=2", "&")
	// A password of its own, that can be told from all other text.
	u, err := url.Parse(b.User(t, b.URL(options), "conformance-Own-s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultproxy.Listen(t.Context(), u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	u.Host = proxy.Addr()
	h := conformance.FromURL(messaging.Registry{"rabbit": rabbit.Open}, u.String(),
		&messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	h.Broker = b.Broker.String()
	h.Silence = 6 * time.Second // a connection is lost after three heartbeats
	h.Fault = conformance.LinkFaults(proxy)
	memory := func(ctx context.Context, limit string) error {
		_, err := b.Exec(ctx, "rabbitmqctl", "-q", "set_vm_memory_high_watermark", limit)
		return err
	}
	var blocked atomic.Bool
	h.Fault.Block = func(ctx context.Context) error {
		blocked.Store(true)
		return memory(ctx, "0")
	}
	heal := h.Fault.Heal
	h.Fault.Heal = func(ctx context.Context) error {
		if err := heal(ctx); err != nil || !blocked.Swap(false) {
			return err
		}
		return memory(ctx, "0.6")
	}
	h.Fault.Restart = func(ctx context.Context) error {
		if err := b.StopApp(ctx); err != nil {
			return err
		}
		return b.StartApp(ctx)
	}
	return h
}
