package zmq_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// greeting and ready are what a good ZMTP peer says first.
func greeting() []byte {
	b := make([]byte, 64)
	b[0], b[9], b[10] = 0xff, 0x7f, 3
	copy(b[12:32], "NULL")
	return b
}

func ready(identity string) []byte { return command("READY", metadata(identity)) }

func metadata(identity string) []byte {
	property := func(name, value string) []byte {
		b := append([]byte{byte(len(name))}, name...)
		return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
	}
	return append(property("Socket-Type", "DEALER"), property("Identity", identity)...)
}

func command(name string, body []byte) []byte {
	b := append([]byte{4, byte(1 + len(name) + len(body)), byte(len(name))}, name...)
	return append(b, body...)
}

// hello is a greeting of our own protocol, from a node that has that id.
func hello(id byte) []byte {
	head := append([]byte{1, 1}, make([]byte, 22)...)
	body := append(bytes.Repeat([]byte{id}, 16), make([]byte, 8+2+4)...)
	b := append([]byte{1, byte(len(head))}, head...)
	return append(append(b, 0, byte(len(body))), body...)
}

// attack is something that strangers do to a listener: one connection of it.
type attack struct {
	name  string
	times int
	do    func(c net.Conn, rng *rand.Rand)
}

func attacks() []attack {
	good := func(id string) []byte { return append(greeting(), ready(id)...) }
	say := func(text ...[]byte) func(net.Conn, *rand.Rand) {
		return func(c net.Conn, _ *rand.Rand) {
			_, _ = c.Write(bytes.Join(text, nil))
			_, _ = io.Copy(io.Discard, c)
		}
	}
	stay := func(text ...[]byte) func(net.Conn, *rand.Rand) { return say(text...) }
	huge := []byte{2, 0, 4, 0, 0, 0, 0, 0, 0}
	request := func(size uint64) []byte { // of our protocol, whose body never comes
		head := append([]byte{1, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 8)...)
		b := append([]byte{1, byte(len(head))}, head...)
		b = append(b, 1, 15)
		b = append(b, make([]byte, 15)...)
		return append(binary.BigEndian.AppendUint64(append(b, 2), size), make([]byte, 1000)...)
	}
	return []attack{
		{"random bytes", 500, func(c net.Conn, rng *rand.Rand) {
			b := make([]byte, 1+rng.IntN(4096))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			_, _ = c.Write(b)
			_, _ = io.Copy(io.Discard, c)
		}},
		{"random bytes after the handshake", 300, func(c net.Conn, rng *rand.Rand) {
			b := good("")
			for range rng.IntN(4096) {
				b = append(b, byte(rng.Uint32()))
			}
			_, _ = c.Write(b)
			_, _ = io.Copy(io.Discard, c)
		}},
		{"huge frame before the handshake", 300, say(greeting(), huge)},
		{"huge frame after the handshake", 300, say(good(""), huge)},
		{"short metadata", 300, say(greeting(), []byte{4, 8, 5}, []byte("READY"), []byte{200, 'S'})},
		{"mute", 400, stay()},
		{"mute after the greeting", 200, stay(greeting())},
		{"mute after the handshake", 200, stay(good(""))},
		{"half frames", 200, stay(good(""), []byte{1, 24, 1, 1})},
		{"duplicate identities", 200, stay(good("same"), hello(7))},
		{"requests that never end", 50, stay(good(""), hello(9), request(16<<20))},
		{"slow loris", 50, func(c net.Conn, rng *rand.Rand) {
			for _, b := range bytes.Repeat(good(""), 1000) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				<-time.After(time.Duration(10+rng.IntN(50)) * time.Millisecond)
			}
		}},
	}
}

// TestHostilePeers: 3,000 connections of every kind of stranger at once. A good
// client is served all along; nothing ends, and memory stays within a bound.
func TestHostilePeers(t *testing.T) {
	url := nodesURL(t, 1, "connect_timeout=2&heartbeat_interval=1&heartbeat_timeout=3")
	address, _, _ := strings.Cut(strings.TrimPrefix(url, "zmq://"), "/")
	server := start(t, role{URL: url, Topic: "work", Servers: []string{"s"}})
	tr := open(t, url)
	c := clientOf(tr, "work")
	call := func() error {
		who, err := rpc.CallFor[string](t.Context(), c, "whoami", rpc.None{})
		if err == nil && who != "s" {
			err = errors.New("answered by " + who)
		}
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	before := memory(t, server.cmd.Process.Pid)

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i, a := range attacks() {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1)) //nolint:gosec // the same each time
			var mine sync.WaitGroup
			for range a.times {
				if ctx.Err() != nil {
					break
				}
				nc, err := net.Dial("tcp", address)
				if err != nil {
					continue // the listener's backlog is full: that is an attack as well
				}
				mu.Lock()
				made++
				mu.Unlock()
				own := rand.New(rand.NewPCG(rng.Uint64(), 2)) //nolint:gosec // the same each time
				mine.Go(func() {
					defer nc.Close()
					over := context.AfterFunc(ctx, func() { _ = nc.Close() })
					defer over()
					a.do(nc, own)
				})
			}
			mine.Wait()
		})
	}
	var took []time.Duration
	newcomers := 0
	for began := time.Now(); time.Since(began) < 4*time.Second; <-time.After(2 * time.Millisecond) {
		at := time.Now()
		if err := call(); err != nil {
			t.Errorf("a good client's call: %v", err)
			break
		}
		took = append(took, time.Since(at))
		if len(took)%200 == 0 { // and one who comes in the middle of it
			fresh, err := registry().Open(t.Context(), url, quiet())
			if err != nil {
				t.Fatal(err)
			}
			if err := fresh.Await(within(t, limit), targetOf("work"), 1); err != nil {
				t.Errorf("a good newcomer: %v", err)
			}
			if err := fresh.Close(within(t, limit)); err != nil {
				t.Error(err)
			}
			newcomers++
		}
	}
	stop()
	wg.Wait()
	slices.Sort(took)
	after := memory(t, server.cmd.Process.Pid)
	t.Logf("%d connections of %d kinds; %d calls meanwhile: median %v, 99 %% within %v, the longest %v; %d newcomers served; the server's memory peaked at %d MiB, %d before",
		made, len(attacks()), len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], newcomers, after>>20, before>>20)
	if most := took[len(took)*99/100]; most > 10*time.Second {
		t.Errorf("99 %% of a good client's calls took up to %v", most)
	}
	if grown := after - before; grown > 512<<20 {
		t.Errorf("the server's memory grew by %d MiB", grown>>20)
	}
	if err := call(); err != nil {
		t.Errorf("after the attack: %v", err)
	}
	if n := tr.Stats().ConnsLost; n > 0 {
		t.Errorf("the good client lost %d links", n)
	}
}

// memory returns the most that a process had in memory so far.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if os.IsNotExist(err) {
		return 0 // not Linux
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	return 0
}
