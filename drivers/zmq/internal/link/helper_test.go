package link_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
)

// limit bounds what a test waits for, generously.
const limit = 30 * time.Second

// TestMain finds what the tests left running.
func TestMain(m *testing.M) {
	code := m.Run()
	var stacks string
	for begin := time.Now(); code == 0; <-time.After(time.Millisecond) {
		buf := make([]byte, 4<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "internal/link.(") && !strings.Contains(stacks, "internal/coalesce.(") {
			break
		}
		if time.Since(begin) > limit {
			fmt.Printf("goroutines are left:\n%s\n", stacks)
			code = 1
		}
	}
	os.Exit(code)
}

// options are short where a test waits for them to pass.
func options() link.Options {
	return link.Options{MaxMessage: 1 << 20, Handshake: 5 * time.Second, Heartbeat: time.Minute, Silence: 2 * time.Minute, WriteTimeout: 10 * time.Second}
}

func limits() link.Limits { return link.Limits{Links: 100, PerHost: 100, Handshakes: 64} }

// server is a listener that sends every message back.
type server struct {
	*link.Listener
	refused chan error
}

func serve(t *testing.T, security link.Security, o link.Options, l link.Limits) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{refused: make(chan error, 10000)}
	s.Listener = link.Accept(t.Context(), ln, nil, security, o, l, echo, func(_ net.Addr, err error) { s.refused <- err })
	t.Cleanup(s.Close)
	return s
}

// echo sends messages back until the link ends.
func echo(l *link.Link) {
	for {
		var m link.Message
		if err := l.Read(&m); err != nil {
			l.Abort(err)
			return
		}
		if err := l.Write(frames(m.Head, m.Second, m.Third)); err != nil {
			return
		}
	}
}

// frames encodes a message; nil frames are not there.
func frames(all ...[]byte) []byte {
	var b []byte
	for i, f := range all {
		if f == nil {
			break
		}
		more := i+1 < len(all) && all[i+1] != nil
		b = link.AppendFrame(b, f, more)
	}
	return b
}

func dial(t *testing.T, s *server, security link.Security) *link.Link {
	t.Helper()
	o := options()
	l, err := link.Dial(t.Context(), "tcp", s.Addr().String(), nil, security, &o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Abort(errors.New("the test is over")) })
	return l
}

// roundTrip sends a message and expects it back.
func roundTrip(t *testing.T, l *link.Link, all ...[]byte) {
	t.Helper()
	if err := l.Write(frames(all...)); err != nil {
		t.Fatal(err)
	}
	var m link.Message
	if err := l.Read(&m); err != nil {
		t.Fatal(err)
	}
	got := [][]byte{m.Head, m.Second, m.Third}
	for i, want := range all {
		if string(got[i]) != string(want) {
			t.Fatalf("frame %d came back as %d bytes, want %d", i+1, len(got[i]), len(want))
		}
	}
	if m.Frames != len(all) {
		t.Fatalf("%d frames came back, want %d", m.Frames, len(all))
	}
}

// raw is a peer that says what it likes.
func raw(t *testing.T, s *server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// greeting is that of ZMTP 3.0.
func greeting(mechanism string) []byte {
	b := make([]byte, 64)
	b[0], b[9], b[10] = 0xff, 0x7f, 3
	copy(b[12:32], mechanism)
	return b
}

// command encodes a command frame.
func command(name string, body []byte) []byte {
	b := append([]byte{4, byte(1 + len(name) + len(body)), byte(len(name))}, name...)
	return append(b, body...)
}

// property encodes one of a READY.
func property(name, value string) []byte {
	b := append([]byte{byte(len(name))}, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// hello is all that a good dealer says in its handshake.
func hello() []byte {
	return append(greeting("NULL"), command("READY", property("Socket-Type", "DEALER"))...)
}

// hangsUp waits until the peer closes the connection.
func hangsUp(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			var n net.Error
			if errors.As(err, &n) && n.Timeout() {
				t.Fatal("the listener keeps the connection")
			}
			return
		}
	}
}

func plain(username, password string) link.Security {
	return func(context.Context) (link.Credentials, error) {
		return link.Credentials{Username: username, Password: password}, nil
	}
}
