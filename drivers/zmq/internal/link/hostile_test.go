package link_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
)

// longFrame is the header of a frame that announces a size.
func longFrame(flags byte, size uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{flags | 2}, size)
}

// TestHostilePeers: each of these ended a process, or a socket, of zmq4's own.
// The listener hangs up on it, allocates little, and serves the next one.
func TestHostilePeers(t *testing.T) {
	random := make([]byte, 4096)
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	random[0] = 0x37
	after := func(parts ...[]byte) []byte { return append(hello(), bytes.Join(parts, nil)...) }
	metadata := func(body ...byte) []byte { return append(greeting("NULL"), command("READY", body)...) }
	old := greeting("NULL")
	old[10] = 2
	tests := []struct {
		name string
		give []byte
		want error
	}{
		{"random bytes", random, link.ErrProtocol},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody who looks around\r\n\r\n"), link.ErrProtocol},
		{"ZMTP 2", old, link.ErrProtocol},
		{"another mechanism", greeting("CURVE"), link.ErrMechanism},
		{"random after the greeting", append(greeting("NULL"), random...), link.ErrProtocol},
		{"huge frame before the handshake", append(greeting("NULL"), longFrame(0, 1<<50)...), link.ErrProtocol},
		{"huge command in the handshake", append(greeting("NULL"), longFrame(4, 1<<50)...), link.ErrLimit},
		{"command of 64 GiB", append(greeting("NULL"), longFrame(4, 64<<30)...), link.ErrLimit},
		{"negative size", append(greeting("NULL"), longFrame(4, 1<<63)...), link.ErrLimit},
		{"message before READY", append(greeting("NULL"), frames([]byte("hello"))...), link.ErrProtocol},
		{"empty command", append(greeting("NULL"), 4, 0), link.ErrProtocol},
		{"name longer than the command", append(greeting("NULL"), 4, 3, 200, 'R', 'E'), link.ErrProtocol},
		{"short metadata", metadata(11, 'S', 'o'), link.ErrProtocol},
		{"metadata value too long", metadata(append([]byte{1, 'X'}, 255, 255, 255, 255)...), link.ErrProtocol},
		{"metadata without a name", metadata(0, 0, 0, 0, 0), link.ErrProtocol},
		{"no socket type", append(greeting("NULL"), command("READY", nil)...), link.ErrProtocol},
		{"a publisher", append(greeting("NULL"), command("READY", property("Socket-Type", "PUB"))...), link.ErrProtocol},
		{"HELLO of PLAIN", append(greeting("NULL"), command("HELLO", []byte{1, 'a', 1, 'b'})...), link.ErrProtocol},
		{"huge frame", after(longFrame(0, 1<<50)), nil},
		{"frame of 64 GiB", after(longFrame(0, 64<<30)), nil},
		{"frames that are too large together", after(longFrame(1, 1), []byte{0}, longFrame(1, 1<<20)), nil},
		{"many frames", after(bytes.Repeat([]byte{1, 0}, 1000)), nil},
		{"large first frame", after(frames(make([]byte, 100))), nil},
		{"reserved flags", after([]byte{0xf8, 0}), nil},
		{"command inside of a message", after([]byte{1, 0}, command("PING", []byte{0, 0})), nil},
		{"huge PING", after(longFrame(4, 1<<40)), nil},
		{"empty command in traffic", after([]byte{4, 0}), nil},
		{"random after the handshake", after(random), nil},
	}
	s := serve(t, nil, options(), limits())
	good := dial(t, s, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, now runtime.MemStats
			for len(s.refused) > 0 {
				t.Logf("before: %v", <-s.refused)
			}
			runtime.ReadMemStats(&before)
			c := raw(t, s)
			_, _ = c.Write(tt.give) // it may hang up before it has read all
			hangsUp(t, c)
			runtime.ReadMemStats(&now)
			if grown := now.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
				t.Errorf("it allocated %d MiB", grown>>20)
			}
			if tt.want != nil {
				select {
				case err := <-s.refused:
					if !errors.Is(err, tt.want) {
						t.Errorf("it was refused because %v, want %v", err, tt.want)
					}
				case <-time.After(limit):
					t.Error("nobody was told that it was refused")
				}
			}
			roundTrip(t, good, []byte("still there"))
			roundTrip(t, dial(t, s, nil), []byte("newcomers too"))
		})
	}
}

// TestHalfFrames: what stays half sent is given up in the end, and meanwhile is
// not allocated.
func TestHalfFrames(t *testing.T) {
	o := options()
	o.Handshake, o.Heartbeat, o.Silence = 300*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond
	s := serve(t, nil, o, limits())
	for name, give := range map[string][]byte{
		"nothing":                   nil,
		"half a greeting":           greeting("NULL")[:30],
		"a greeting alone":          greeting("NULL"),
		"half a command":            append(greeting("NULL"), command("READY", property("Socket-Type", "DEALER"))[:9]...),
		"half a header":             append(hello(), 2, 0, 0),
		"half a frame":              append(hello(), 0, 100, 'x'),
		"a message without its end": append(hello(), frames([]byte("x"), []byte("y"))[:3]...),
		"a large frame, half":       append(append(hello(), 1, 0, 1, 0), append(longFrame(0, 1<<19), make([]byte, 100_000)...)...),
	} {
		c := raw(t, s)
		if _, err := c.Write(give); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		hangsUp(t, c)
	}
}

// TestSlowLoris: byte after byte does not keep a handshake open.
func TestSlowLoris(t *testing.T) {
	o := options()
	o.Handshake = 300 * time.Millisecond
	s := serve(t, nil, o, limits())
	c := raw(t, s)
	began := time.Now()
	for _, b := range bytes.Repeat(hello(), 100) {
		if _, err := c.Write([]byte{b}); err != nil {
			break
		}
		if time.Since(began) > limit {
			t.Fatal("the listener goes on listening to it")
		}
		<-time.After(5 * time.Millisecond)
		if b == 0x7f {
			c.(*net.TCPConn).SetNoDelay(true) //nolint:errcheck // it is the default
		}
		if time.Since(began) > o.Handshake/2 {
			break
		}
	}
	hangsUp(t, c)
}

// TestMutePeersDoNotKeepOthersOut: more of them than handshakes may be under way.
func TestMutePeersDoNotKeepOthersOut(t *testing.T) {
	l := limits()
	l.Handshakes = 8
	s := serve(t, nil, options(), l)
	var mute []net.Conn
	for range 50 {
		mute = append(mute, raw(t, s))
		if len(mute)%10 == 0 {
			roundTrip(t, dial(t, s, nil), []byte("in between"))
		}
	}
	evicted := 0
	for len(s.refused) > 0 {
		if err := <-s.refused; errors.Is(err, link.ErrLimit) {
			evicted++
		}
	}
	if evicted < len(mute)-l.Handshakes-10 {
		t.Errorf("%d of %d mute peers were ended for others", evicted, len(mute))
	}
}

func TestLimits(t *testing.T) {
	for name, l := range map[string]link.Limits{
		"in all":       {Links: 3, PerHost: 100, Handshakes: 10},
		"for one host": {Links: 100, PerHost: 3, Handshakes: 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil, options(), l)
			var open []*link.Link
			for range 3 {
				open = append(open, dial(t, s, nil))
				roundTrip(t, open[len(open)-1], []byte("in"))
			}
			hangsUp(t, raw(t, s))
			if err := <-s.refused; !errors.Is(err, link.ErrLimit) {
				t.Errorf("refused because %v, want %v", err, link.ErrLimit)
			}
			open[0].Abort(errors.New("making room"))
			o := options()
			for began := time.Now(); ; { // it takes a moment until the end is noticed
				in, err := link.Dial(t.Context(), "tcp", s.Addr().String(), nil, nil, &o, nil)
				if err == nil {
					err = in.Write(frames([]byte("room again")))
				}
				if err == nil && in.Read(new(link.Message)) == nil {
					in.Abort(errors.New("over"))
					break
				}
				if time.Since(began) > limit {
					t.Fatalf("no room after one has left: %v", err)
				}
			}
		})
	}
}

// script is a peer that says what it was told to and reads everything.
type script struct {
	net.Conn
	say io.Reader
}

func (s *script) Read(p []byte) (int, error)       { return s.say.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// FuzzPeer reads a peer that says anything, from the greeting on, after a good
// greeting, and after a good handshake, on both sides.
func FuzzPeer(f *testing.F) {
	f.Add(byte(0), hello())
	f.Add(byte(1), command("READY", property("Socket-Type", "ROUTER")))
	f.Add(byte(2), frames([]byte("head"), []byte("second"), []byte("third")))
	f.Add(byte(2), command("PING", []byte{0, 1, 2}))
	f.Add(byte(4), command("HELLO", []byte{1, 'a', 1, 'b'}))
	f.Fuzz(func(t *testing.T, mode byte, data []byte) {
		server := mode&8 == 0
		var security link.Security
		mechanism := "NULL"
		if mode&4 != 0 {
			security, mechanism = plain("a", "b"), "PLAIN"
		}
		switch mode & 3 {
		case 1:
			data = append(greeting(mechanism), data...)
		case 2:
			if mode&4 == 0 {
				kind := "DEALER"
				if !server {
					kind = "ROUTER"
				}
				data = append(append(greeting("NULL"), command("READY", property("Socket-Type", kind))...), data...)
			}
		}
		o := options()
		l, err := link.Open(t.Context(), &script{say: bytes.NewReader(data)}, server, security, &o)
		if err != nil {
			return
		}
		var m link.Message
		for l.Read(&m) == nil {
			if m.Frames < 1 || m.Frames > 3 || len(m.Head)+len(m.Second)+len(m.Third) > len(data) {
				t.Errorf("%d frames of %d, %d and %d bytes out of %d", m.Frames, len(m.Head), len(m.Second), len(m.Third), len(data))
			}
		}
		l.Abort(io.EOF)
	})
}
