package amqp1_test

import (
	"encoding/binary"
	"net/url"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/amqp1"
	"github.com/patchbay-go/patchbay/internal/mutetest"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestUnanswered: a broker that lives and leaves something unanswered makes nobody
// wait for ever, and costs the connection at most.
func TestUnanswered(t *testing.T) {
	for _, b := range []*broker{newBrokerJ(t), newRabbitMQ(t, "4.3")} {
		t.Run(b.column, func(t *testing.T) {
			s := mutetest.Suite{
				Target:   b.host(t),
				Protocol: mutetest.Protocol{Head: 8, Size: frameSize},
				Open:     patient(mutetest.Patience),
				URL: func(address string) string {
					u := parsed(t, b.url)
					u.Host, u.RawQuery = address, url.Values{"idle_timeout": {"60"}}.Encode()
					return u.String()
				},
			}
			for what, name := range map[byte]string{
				0x10: "open", 0x11: "begin", 0x12: "attach", 0x13: "flow", 0x14: "transfer", 0x15: "disposition", 0x16: "detach", 0x17: "end", 0x18: "close",
			} {
				s.Cases = append(s.Cases, mutetest.Case{Name: name, Permits: name == "flow", Is: func(frame []byte) bool {
					return performativeOf(frame) == what
				}})
			}
			s.Run(t)
		})
	}
}

// frameSize returns the size of a frame, or of a protocol header.
func frameSize(head []byte) (int, error) {
	if string(head[:4]) == "AMQP" {
		return len(head), nil
	}
	return int(binary.BigEndian.Uint32(head)), nil
}

// performativeOf returns what a frame says; 0: nothing.
func performativeOf(frame []byte) byte {
	const offset, kind, amqpFrame = 4, 5, 0
	at := int(frame[offset]) * 4
	if frame[kind] != amqpFrame || len(frame) < at+3 || frame[at] != 0 || frame[at+1] != 0x53 {
		return 0
	}
	return frame[at+2]
}

// patient opens drivers with that much patience with a broker that does not answer.
func patient(patience time.Duration) messaging.Opener {
	return func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		d, codecs, err := amqp1.Open(u, o)
		if err == nil {
			amqp1.Hurry(d, patience)
		}
		return d, codecs, err
	}
}
