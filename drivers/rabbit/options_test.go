package rabbit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/messaging"
)

func open(t *testing.T, url string) (messaging.Driver, []messaging.Codec, error) {
	t.Helper()
	u, err := messaging.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return rabbit.Open(u, nil)
}

func TestOpen(t *testing.T) {
	for _, tt := range []struct{ url, codec string }{
		{"rabbit://", "oslo"},
		{"RABBIT+TLS://u:p@a:1,u:p@b/v?wire=native", "native"},
		{"rabbit://?wire=oslo&amqp_durable_queues=yes&rabbit_quorum_queue=1&rabbit_quorum_delivery_limit=3&rabbit_transient_queues_ttl=0", "oslo"},
		{"rabbit://?heartbeat_timeout_threshold=0&rabbit_login_method=EXTERNAL&rabbit_qos_prefetch_count=65535", "oslo"},
		{"rabbit+tls://?ssl_enforce_hostname_verification=false", "oslo"},
		{"rabbit://?ssl=1", "oslo"},
		{"rabbit://?rabbit_stream_fanout=true&rabbit_transient_quorum_queue=true&use_queue_manager=true&rabbit_ha_queues=true", "oslo"},
		{"rabbit://?share_connection=true", "oslo"},
	} {
		d, codecs, err := open(t, tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if len(codecs) != 2 || codecs[0].Name() != tt.codec || codecs[1].Name() == tt.codec {
			t.Errorf("%s: codecs %v, want %s first", tt.url, codecs, tt.codec)
		}
		if d.SingleConn() {
			t.Errorf("%s: SingleConn", tt.url)
		}
		if d.(messaging.Sharer).ShareConn() != strings.Contains(tt.url, "share_connection") {
			t.Errorf("%s: ShareConn", tt.url)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ url, says string }{
		{"rabbit+quic://", `scheme "rabbit+quic"`},
		{"rabbit://?amqp_durable=true", `unknown option "amqp_durable" (known are amqp_auto_delete, amqp_durable_queues,`},
		{"rabbit://?amqp_durable_queues=perhaps", "amqp_durable_queues"},
		{"rabbit://?rabbit_stream_fanout=true", "rabbit_transient_quorum_queue"},
		{"rabbit://?rabbit_ha_queues=true&rabbit_quorum_queue=true", "rabbit_ha_queues"},
		{"rabbit://?use_queue_manager=true&hostname=" + strings.Repeat("x", 101), "hostname"},
		{"rabbit://?use_queue_manager=true&processname=" + strings.Repeat("x", 101), "processname"},
		{"rabbit://?rabbit_quorum_queue=true&amqp_auto_delete=true", "amqp_auto_delete"},
		{"rabbit://?rabbit_quorum_delivery_limit=3", "needs rabbit_quorum_queue"},
		{"rabbit://?rabbit_quorum_queue=true&rabbit_quorum_delivery_limit=-1", "must be 0 to"},
		{"rabbit://?rabbit_qos_prefetch_count=65536", "must be 0 to 65535"},
		{"rabbit://?rabbit_transient_queues_ttl=3000000", "rabbit_transient_queues_ttl"},
		{"rabbit://?rabbit_transient_queues_ttl=0.0001", "rabbit_transient_queues_ttl"},
		{"rabbit://?heartbeat_timeout_threshold=70000", "heartbeat_timeout_threshold"},
		{"rabbit://?heartbeat_timeout_threshold=0.5", "heartbeat_timeout_threshold"},
		{"rabbit://?rabbit_login_method=plain", "PLAIN, AMQPLAIN, EXTERNAL"},
		{"rabbit://?wire=json", "oslo, native"},
		{"rabbit://?control_exchange=" + strings.Repeat("x", 201), "control_exchange"},
		{"rabbit://?ssl_ca_file=ca.pem", "needs the scheme rabbit+tls"},
		{"rabbit+tls://?ssl_ca_file=testdata/absent.pem", "ssl_ca_file"},
		{"rabbit://?ssl=true&ssl_ca_file=testdata/absent.pem", "ssl_ca_file"},
		{"rabbit+tls://?ssl=false", "ssl"},
		{"rabbit+tls://?ssl_ca_file=testdata/topology.json", "holds no certificate"},
		{"rabbit+tls://?ssl_cert_file=testdata/topology.json", "ssl_cert_file"},
	} {
		_, _, err := open(t, tt.url)
		if !errors.Is(err, messaging.ErrInvalidURL) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want one that says %q", tt.url, err, tt.says)
		}
	}
}

// TestCapabilities holds what depends on the options and the broker's version.
func TestCapabilities(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		always := messaging.Capabilities{
			Ordered: true, Requeue: true, Mandatory: true, TTL: true, Groups: true, Taps: true, OfflineCast: true, StableReply: true,
			MaxMessage: 16 << 20,
		}
		if strings.HasSuffix(t.Name(), "/3.10") {
			always.MaxMessage = 128 << 20
		}
		for _, tt := range []struct {
			options string
			differ  func(c *messaging.Capabilities)
		}{
			{"rabbit_quorum_queue=true", func(c *messaging.Capabilities) { c.Durable, c.DeliveryCount = true, true }},
			{"amqp_durable_queues=true", func(c *messaging.Capabilities) { c.Durable = true }},
			{"amqp_durable_queues=true&amqp_auto_delete=true", func(c *messaging.Capabilities) { c.Durable, c.OfflineCast = true, false }},
			{"amqp_durable_queues=true&direct_reply_to=true", func(c *messaging.Capabilities) { c.Durable, c.StableReply = true, false }},
			{"amqp_durable_queues=true&max_message_size=5", func(c *messaging.Capabilities) { c.Durable, c.MaxMessage = true, 5 }},
		} {
			want := always
			tt.differ(&want)
			if got := dial(t, b, tt.options).Capabilities(); got != want {
				t.Errorf("%s:\n got %+v\nwant %+v", tt.options, got, want)
			}
		}
	})
}
