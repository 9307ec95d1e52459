package faultproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance/faultproxy"
)

const limit = 10 * time.Second

// echo starts a server that sends back what it gets, and a proxy to it.
func echo(t *testing.T) *faultproxy.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	p, err := faultproxy.Listen(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

func dial(t *testing.T, p *faultproxy.Proxy) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.Addr(), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("received %q, %v, want %q", got, err, want)
	}
}

func wantEnd(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("read %d bytes, %v; want the connection to have ended", n, err)
	}
}

func TestPasses(t *testing.T) {
	t.Parallel()
	p := echo(t)
	a, b := dial(t, p), dial(t, p)
	send(t, a, "one")
	send(t, b, "two")
	receive(t, a, "one")
	receive(t, b, "two")
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { _, _ = a.Write(large) }()
	receive(t, a, string(large))
	if n := p.Links(); n != 2 {
		t.Errorf("there are %d links, want 2", n)
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*faultproxy.Proxy){
		"cut": (*faultproxy.Proxy).Cut, "reset": (*faultproxy.Proxy).Reset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := echo(t)
			a := dial(t, p)
			send(t, a, "x")
			receive(t, a, "x")
			end(p)
			wantEnd(t, a)
			if n := p.Links(); n != 0 {
				t.Errorf("there are %d links, want none", n)
			}
			again := dial(t, p)
			send(t, again, "y")
			receive(t, again, "y")
		})
	}
}

func TestRefuseNew(t *testing.T) {
	t.Parallel()
	p := echo(t)
	old := dial(t, p)
	send(t, old, "x")
	receive(t, old, "x")
	p.RefuseNew()
	if c, err := net.DialTimeout("tcp", p.Addr(), limit); err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(limit))
		wantEnd(t, c)
	}
	send(t, old, "still")
	receive(t, old, "still")
	p.Heal()
	c := dial(t, p)
	send(t, c, "y")
	receive(t, c, "y")
}

func TestBlackhole(t *testing.T) {
	t.Parallel()
	p := echo(t)
	a := dial(t, p)
	send(t, a, "x")
	receive(t, a, "x")
	p.Blackhole()
	b := dial(t, p)
	send(t, a, "held back")
	send(t, b, "held back too")
	if err := a.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes came through a black hole", n)
	}
	if err := a.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	p.Heal()
	receive(t, a, "held back")
	receive(t, b, "held back too")

	p.Blackhole()
	p.Cut() // ends what waits in it
	wantEnd(t, a)
}

func TestDelay(t *testing.T) {
	t.Parallel()
	const d = 30 * time.Millisecond
	p := echo(t)
	a := dial(t, p)
	send(t, a, "x")
	receive(t, a, "x")
	p.Delay(d)
	start := time.Now()
	send(t, a, "slow")
	receive(t, a, "slow")
	if took := time.Since(start); took < 2*d {
		t.Errorf("there and back took %v, want %v at least", took, 2*d)
	}
}

func TestCutAfter(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(&got, c)
	}()
	p, err := faultproxy.Listen(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := dial(t, p)
	p.CutAfter(5)
	send(t, c, "half a frame")
	wantEnd(t, c)
	<-ended
	// The reset may overtake the bytes, but no more than these went.
	if !bytes.HasPrefix([]byte("half "), got.Bytes()) {
		t.Errorf("the peer got %q, want at most the first 5 bytes", got.String())
	}
	again := dial(t, p)
	send(t, again, "x")
}

func TestCutAnswer(t *testing.T) {
	t.Parallel()
	p := echo(t)
	other, c := dial(t, p), dial(t, p)
	send(t, c, "before")
	receive(t, c, "before")
	p.CutAnswer()
	send(t, c, "its answer is lost")
	wantEnd(t, c)
	wantEnd(t, other)
	again := dial(t, p)
	send(t, again, "after")
	receive(t, again, "after")

	p.CutAnswer()
	p.Heal()
	send(t, again, "healed")
	receive(t, again, "healed")
}
