package amqp1_test

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
	"github.com/patchbay-go/patchbay/drivers/amqp1"
	"github.com/patchbay-go/patchbay/internal/semantics"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestConformance runs the public suite on every broker.
func TestConformance(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		options := ""
		if b.column == "Broker-J" {
			// Its own limit is 100 MiB: to encode that much keeps a small machine
			// from the idle timeout.
			options = "max_message_size=16777216"
		}
		describes(t, b.column, conformance.RunWith(t, harness(t, b, options), conformance.Options{Volume: 0.1}))
	})
}

// TestConformanceOslo runs what must work with oslo.messaging's old format and its
// addresses, on the brokers where Python's clients can be.
func TestConformanceOslo(t *testing.T) {
	for _, b := range []*broker{newBrokerJ(t), newArtemis(t)} {
		t.Run(b.column, func(t *testing.T) {
			h := harness(t, b, "wire=oslo")
			conformance.RunWith(t, h, conformance.Options{
				Volume: 0.1, Levels: []conformance.Level{conformance.LevelMust}, Run: "^(cast_one|cast_exactly|cast_binary|cast_headers|call_(reply|void|remote|late|dup)|fanout_all|heartbeat_(keeps|interval)|namespace)",
			})
		})
	}
}

// TestConformanceGeneric runs the suite with the profile for peers that are not known.
func TestConformanceGeneric(t *testing.T) {
	h := harness(t, newArtemis(t), "broker=generic")
	conformance.RunWith(t, h, conformance.Options{
		Volume: 0.1, Levels: []conformance.Level{conformance.LevelMust},
		Run: "^(cast_one|cast_exactly|cast_to|call_(reply|late|1000)|fanout_(all|excludes)|prefetch|nack|ack|drain|open_twice|names|close)",
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
	// A password of its own where the broker lets us, that can be told from all
	// other text.
	u, err := url.Parse(b.own(t, "conformance-Own-s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = strings.Trim(options+"&idle_timeout=2", "&")
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
	h := conformance.FromURL(messaging.Registry{"amqp1": amqp1.Open}, u.String(),
		&messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	h.Broker = b.Broker.String()
	h.Silence = 2 * time.Second
	h.Fault = conformance.LinkFaults(proxy)
	h.Fault.Restart = b.restart
	h.Fault.Kill = func(ctx context.Context) error {
		if err := b.Kill(ctx); err != nil {
			return err
		}
		return b.Start(ctx)
	}
	if b.rabbit {
		canBlock(b, &h)
	}
	return h
}

// canBlock makes RabbitMQ run out of memory.
func canBlock(b *broker, h *conformance.Harness) {
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
}
