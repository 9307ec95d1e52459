package amqp1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/amqp1"
	"github.com/patchbay-go/patchbay/messaging"
)

func open(t *testing.T, url string) (messaging.Driver, []messaging.Codec, error) {
	t.Helper()
	u, err := messaging.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return amqp1.Open(u, nil)
}

func TestOpen(t *testing.T) {
	for _, tt := range []struct{ url, codec string }{
		{"amqp1://", "native"},
		{"AMQP1+TLS://u:p@a:1,u:p@b/v?wire=oslo&addressing_mode=legacy&broadcast_prefix=b&pseudo_vhost=no", "oslo"},
		{"amqp1://?broker=qpid&idle_timeout=0&prefetch=4096&transient_queues_ttl=0&max_message_size=5&pre_settled=rpc-cast", "native"},
		{"amqp1://?sasl_mechanisms=PLAIN%20EXTERNAL&container_name=me&control_exchange=x", "native"},
		{"amqp1+tls://?ssl_enforce_hostname_verification=false", "native"},
		{"amqp1://?management=http%3A%2F%2Fhost%3A8080", "native"},
		{"amqp1://?management=https://host:8080/node/host/", "native"},
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
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ url, says string }{
		{"amqp1+quic://", `scheme "amqp1+quic"`},
		{"amqp1://?brokers=qpid", `unknown option "brokers" (known are addressing_mode,`},
		{"amqp1://?broker=kafka", "rabbitmq, qpid, artemis, generic"},
		{"amqp1://?wire=json", "native, oslo"},
		{"amqp1://?wire=oslo&addressing_mode=other", "dynamic, legacy, routable"},
		{"amqp1://?addressing_mode=legacy", "needs wire=oslo"},
		{"amqp1://?anycast_address=x", "needs wire=oslo"},
		{"amqp1://?prefetch=-1", "must be 0 to 4096"},
		{"amqp1://?transient_queues_ttl=0.5", "transient_queues_ttl"},
		{"amqp1://?idle_timeout=0.01", "idle_timeout"},
		{"amqp1://?idle_timeout=-1", "idle_timeout"},
		{"amqp1://?sasl_mechanisms=GSSAPI", "PLAIN, ANONYMOUS and EXTERNAL"},
		{"amqp1://?pre_settled=rpc-call", "pre_settled"},
		{"amqp1://?management=ftp://host", "management"},
		{"amqp1://?management=http://u:p@host", "no credentials"},
		{"amqp1://?management=http://host/one", "NODE/VIRTUALHOST"},
		{"amqp1://?management=http://host/%253A/a?b", "management"},
		{"amqp1://?control_exchange=" + strings.Repeat("x", 201), "control_exchange"},
		{"amqp1://?ssl_ca_file=ca.pem", "needs the scheme amqp1+tls"},
		{"amqp1+tls://?ssl_ca_file=testdata/absent.pem", "ssl_ca_file"},
	} {
		_, _, err := open(t, tt.url)
		if !errors.Is(err, messaging.ErrInvalidURL) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want one that says %q", tt.url, err, tt.says)
		}
	}
}
