package amqp1_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/splice"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestManagementDetaches: a broker that detaches the links to its management node at
// each request gets back the sessions that they were in.
func TestManagementDetaches(t *testing.T) {
	b := newRabbitMQ(t, "4.3")
	var refuses atomic.Bool
	var sessions atomic.Int64
	frames := func(from io.Reader, take func(frame []byte) bool) io.Reader {
		r := splice.New(from, 1<<20)
		r.Head, r.Size, r.Interval = 8, frameSize, time.Hour
		r.Take = func(frame []byte) (bool, error) { return take(frame), nil }
		return r
	}
	address := server(t, func(c net.Conn) {
		peer, err := net.Dial("tcp", b.host(t))
		if err != nil {
			t.Error(err)
			return
		}
		var both sync.WaitGroup
		defer both.Wait()
		both.Go(func() {
			defer peer.Close()
			_, _ = io.Copy(peer, frames(c, func(frame []byte) bool {
				switch performativeOf(frame) {
				case 0x11: // begin
					sessions.Add(1)
				case 0x17: // end
					sessions.Add(-1)
				}
				return false
			}))
		})
		_, _ = io.Copy(c, frames(peer, func(frame []byte) bool {
			if !refuses.Load() {
				return false
			}
			switch performativeOf(frame) {
			case 0x14: // transfer
				_, _ = c.Write(detachOf(frame))
				return true
			case 0x16: // detach: it was said already
				return true
			}
			return false
		}))
	})
	refused := parsed(t, b.url)
	refused.Host = address
	c, err := dialURL(t, refused.String(), limit)
	if err != nil {
		t.Fatal(err)
	}
	notes := func() messaging.Address { a := topic(); a.Kind = messaging.KindNotify; return a }
	m := body("x")
	m.Ensure = true
	mustSend(t, c, notes(), m)
	refuses.Store(true)
	before := sessions.Load()
	for range 10 {
		if err := send(t, c, notes(), m); err == nil {
			t.Error("a queue is there that the broker did not declare")
		}
	}
	refuses.Store(false)
	mustSend(t, c, notes(), m)
	for begin := time.Now(); sessions.Load() > before; <-time.After(time.Millisecond) { // they end in the background
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("%d sessions are left", sessions.Load()-before)
		}
	}
}

// detachOf returns what ends the link of a transfer.
func detachOf(transfer []byte) []byte {
	const head, list8 = 8, 0xc0
	list := transfer[head+3:]
	handle := list[3:] // of a list8; a list32 has longer numbers
	if list[0] != list8 {
		handle = list[9:]
	}
	switch handle[0] {
	case 0x43: // 0
		handle = handle[:1]
	case 0x52: // one byte
		handle = handle[:2]
	default:
		handle = handle[:5]
	}
	fields := append(bytes.Clone(handle), 0x41) // closed
	frame := append([]byte{0, 0, 0, byte(head + 3 + 3 + len(fields)), 2, 0, transfer[6], transfer[7], 0, 0x53, 0x16, list8, byte(len(fields) + 1), 2}, fields...)
	return frame
}
