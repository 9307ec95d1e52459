package rabbit_test

import (
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestDirectReplyAddresses: no address of a stranger's ends a connection.
func TestDirectReplyAddresses(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		out := dial(t, b, "")
		for _, address := range []string{
			"", ".", ".garbage", "." + strings.Repeat("g", 200),
			".g1h2AA5yZXBseUA=.x", ".g2EB.x", ".g2o=.x", ".AQID.x", ".gw==.UO62/gBsvK7d285WM/pfhA==", // no process, but well encoded
		} {
			to := messaging.Address{Kind: messaging.KindReply, Direct: "amq.rabbitmq.reply-to" + address}
			m := text("x")
			m.Mandatory = true
			err := send(t, out, to, m)
			if err != nil {
				wantErr(t, err, messaging.ErrNoRoute)
			}
			if !strings.HasPrefix(b.Broker.String(), "RabbitMQ 4.3") {
				wantErr(t, err, messaging.ErrReplyRefused)
			}
		}
		if err := out.Err(); err != nil {
			t.Error(err)
		}
	})
}
