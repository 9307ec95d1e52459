package wire_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// TestAbsurdIDs: ids are remembered, logged and sent back, so a stranger does
// not choose how long they are.
func TestAbsurdIDs(t *testing.T) {
	for _, codec := range []messaging.Codec{wire.Oslo(0), wire.Native(0)} {
		for _, kind := range []messaging.Kind{messaging.KindRPC, messaging.KindReply, messaging.KindNotify} {
			fields := 3
			if kind == messaging.KindNotify {
				fields = 1 // it has no others
			}
			for field := range fields {
				for _, n := range []int{1024, 1025, 5 << 20} {
					t.Run(fmt.Sprint(codec.Name(), " ", kind, " ", field, " ", n), func(t *testing.T) {
						ids := []string{"id", "call", "reply"}
						ids[field] = strings.Repeat("x", n)
						e := messaging.Envelope{Kind: kind, Method: "m", ID: ids[0], CallID: ids[1], ReplyTo: ids[2], Body: []byte("{}")}
						var m messaging.Message
						if err := codec.Encode(&e, &m); err != nil {
							t.Fatal(err)
						}
						got := messaging.Envelope{Kind: kind}
						err := codec.Decode(&m, &got)
						if want := n > 1024; errors.Is(err, messaging.ErrUndecodable) != want {
							t.Errorf("Decode = %.200v, undecodable: want %v", err, want)
						}
					})
				}
			}
		}
	}
}
