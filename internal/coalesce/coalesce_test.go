package coalesce_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/internal/coalesce"
)

// socketPair returns both ends of a TCP connection.
func socketPair(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	server, ok := <-accepted
	if !ok {
		tb.Fatal("accept failed")
	}
	tb.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// TestNothingIsLostOrReordered has many goroutines write records of many sizes
// through a small limit, and checks that each record arrives whole and each
// writer's in order.
func TestNothingIsLostOrReordered(t *testing.T) {
	const writers, records = 8, 400
	client, server := socketPair(t)
	c := coalesce.New(client, coalesce.Options{Limit: 4 << 10})

	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			buf := make([]byte, 0, 10<<10)
			for i := range records {
				size := (i * 37) % (8 << 10)
				buf = binary.BigEndian.AppendUint32(buf[:0], uint32(w))
				buf = binary.BigEndian.AppendUint32(buf, uint32(i))
				buf = binary.BigEndian.AppendUint32(buf, uint32(size))
				buf = append(buf, bytes.Repeat([]byte{byte(w ^ i)}, size)...)
				if n, err := c.Write(buf); err != nil || n != len(buf) {
					t.Errorf("Write = %d, %v; want %d, nil", n, err, len(buf))
					return
				}
				clear(buf) // Write must have kept nothing
			}
		})
	}
	go func() {
		wg.Wait()
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}()

	next := make([]uint32, writers)
	var head [12]byte
	for range writers * records {
		if _, err := io.ReadFull(server, head[:]); err != nil {
			t.Fatal(err)
		}
		w, i, size := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:])
		if w >= writers || i != next[w] {
			t.Fatalf("got record %d of writer %d, want %d", i, w, next[w])
		}
		next[w]++
		body := make([]byte, size)
		if _, err := io.ReadFull(server, body); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body, bytes.Repeat([]byte{byte(w) ^ byte(i)}, int(size))) {
			t.Fatalf("record %d of writer %d is mixed with another", i, w)
		}
	}
	if n, err := server.Read(head[:]); !errors.Is(err, io.EOF) {
		t.Errorf("after the last record: read %d bytes, %v; want EOF", n, err)
	}
}

// counting counts writes, each of which waits for a token.
type counting struct {
	net.Conn
	token  chan struct{}
	writes [][]byte
}

func (c *counting) Write(p []byte) (int, error) {
	<-c.token
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), nil
}

func (c *counting) SetWriteDeadline(time.Time) error { return nil }
func (c *counting) Close() error                     { return nil }

func TestWritesGatherWhileOneIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &counting{token: make(chan struct{})}
		c := coalesce.New(under, coalesce.Options{})
		write(t, c, "a")
		synctest.Wait() // the flusher is in its first write
		for _, s := range []string{"b", "c", "d"} {
			write(t, c, s)
		}
		close(under.token)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if len(under.writes) != 2 || string(under.writes[0]) != "a" || string(under.writes[1]) != "bcd" {
			t.Errorf("writes beneath: %q, want [a bcd]", under.writes)
		}
	})
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatalf("Write(%q) = %v", s, err)
	}
}

// TestFrozenPeer is about a peer that reads nothing, over a net.Pipe, which
// buffers nothing either, in virtual time.
func TestFrozenPeer(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, c *coalesce.Conn, peer net.Conn)
	}{
		{"the write timeout ends Write and Read", func(t *testing.T, c *coalesce.Conn, _ net.Conn) {
			write(t, c, "x")
			start := time.Now()
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("Read succeeded")
			}
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("noticed after %v, want 10s", took)
			}
			if _, err := c.Write([]byte("y")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write = %v, want the deadline", err)
			}
			if err := c.Err(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Err = %v, want the deadline", err)
			}
			if err := c.Close(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Close = %v, want the deadline", err)
			}
		}},
		{"progress restarts the write timeout", func(t *testing.T, c *coalesce.Conn, peer net.Conn) {
			if _, err := c.Write(make([]byte, 512<<10)); err != nil { // two pieces
				t.Fatal(err)
			}
			for range 2 {
				<-time.After(9 * time.Second)
				if _, err := io.ReadFull(peer, make([]byte, 256<<10)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}},
		{"the timeout can be lifted while a write is under way", func(t *testing.T, c *coalesce.Conn, peer net.Conn) {
			write(t, c, "x")
			synctest.Wait()
			c.SetWriteTimeout(0)
			<-time.After(time.Hour)
			got := make([]byte, 1)
			if _, err := io.ReadFull(peer, got); err != nil || string(got) != "x" {
				t.Errorf("peer read %q, %v", got, err)
			}
			c.SetWriteTimeout(10 * time.Second)
			if err := c.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}},
		{"a full buffer blocks Write, and room lets it go on", func(t *testing.T, c *coalesce.Conn, peer net.Conn) {
			write(t, c, "a")
			synctest.Wait() // "a" is being written
			write(t, c, "0123456789")
			blocked := make(chan error, 1)
			go func() { _, err := c.Write([]byte("z")); blocked <- err }()
			synctest.Wait()
			select {
			case err := <-blocked:
				t.Fatalf("Write over the limit returned %v", err)
			default:
			}
			got := make([]byte, 12)
			if _, err := io.ReadFull(peer, got); err != nil || string(got) != "a0123456789z" {
				t.Errorf("peer read %q, %v", got, err)
			}
			if err := <-blocked; err != nil {
				t.Errorf("blocked Write = %v", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}},
		{"Close is bounded and frees a blocked Write", func(t *testing.T, c *coalesce.Conn, _ net.Conn) {
			write(t, c, "a")
			synctest.Wait()
			write(t, c, "0123456789")
			blocked := make(chan error, 1)
			go func() { _, err := c.Write([]byte("z")); blocked <- err }()
			synctest.Wait()
			start := time.Now()
			if err := c.Close(); err == nil {
				t.Error("Close = nil although bytes were lost")
			}
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("Close took %v, want its timeout of 2s", took)
			}
			if err := <-blocked; !errors.Is(err, net.ErrClosed) {
				t.Errorf("blocked Write = %v, want net.ErrClosed", err)
			}
		}},
		{"Abort is immediate", func(t *testing.T, c *coalesce.Conn, _ net.Conn) {
			write(t, c, "a")
			start := time.Now()
			c.Abort()
			c.Abort()
			if took := time.Since(start); took != 0 {
				t.Errorf("Abort took %v", took)
			}
			if _, err := c.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write = %v, want net.ErrClosed", err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, peer := net.Pipe()
				defer peer.Close()
				c := coalesce.New(client, coalesce.Options{Limit: 8, WriteTimeout: 10 * time.Second, CloseTimeout: 2 * time.Second})
				tt.do(t, c, peer)
			})
		})
	}
}

func TestCloseWritesWhatWasTaken(t *testing.T) {
	client, server := socketPair(t)
	c := coalesce.New(client, coalesce.Options{})
	want := bytes.Repeat([]byte("0123456789"), 200_000)
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := io.ReadAll(server)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("peer read %d bytes, %v; want %d", len(got), err, len(want))
		}
	})
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := c.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
	closers.Wait()
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close = %v, want net.ErrClosed", err)
	}
	wg.Wait()
}

func TestPeerGone(t *testing.T) {
	client, server := socketPair(t)
	c := coalesce.New(client, coalesce.Options{})
	server.Close()
	for c.Err() == nil { // the first writes may still go into the socket
		if _, err := c.Write([]byte("x")); err != nil {
			break
		}
	}
	if err := c.Err(); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("Err = %v, want what the socket said", err)
	}
	c.Abort()
}

// TestKickKeepsOrder has goroutines append and kick while others write: each one's
// records arrive whole and in order, whoever wrote them out.
func TestKickKeepsOrder(t *testing.T) {
	const writers, records = 4, 500
	client, server := socketPair(t)
	c := coalesce.New(client, coalesce.Options{})
	var mu sync.Mutex // as the writers of one link have
	next := 0
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range records {
				mu.Lock()
				b := binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(next))
				next++
				var err error
				if w%2 == 0 {
					err = c.Append(b)
				} else {
					_, err = c.Write(b)
				}
				mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				c.Kick()
				if w == 0 {
					<-time.After(30 * time.Microsecond) // so that the connection is quiet now and then
				}
			}
		})
	}
	got := make([]byte, 4)
	for i := range writers * records {
		if _, err := io.ReadFull(server, got); err != nil {
			t.Fatal(err)
		}
		if n := binary.BigEndian.Uint32(got); n != uint32(i) {
			t.Fatalf("record %d came as number %d", n, i)
		}
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestKickOfWhatDoesNotFit: a peer that does not read makes nobody wait, and gets
// all of it in the end.
func TestKickOfWhatDoesNotFit(t *testing.T) {
	client, server := socketPair(t)
	c := coalesce.New(client, coalesce.Options{Limit: 1 << 30})
	const size, times = 8 << 10, 4000
	block := bytes.Repeat([]byte{7}, size)
	for range times {
		if err := c.Append(block); err != nil {
			t.Fatal(err)
		}
		c.Kick()
	}
	n, err := io.Copy(io.Discard, io.LimitReader(server, size*times))
	if n != size*times || err != nil {
		t.Errorf("%d of %d bytes arrived, %v", n, size*times, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestRoom waits for what is written, not for what was taken.
func TestRoom(t *testing.T) {
	client, server := net.Pipe()
	c := coalesce.New(client, coalesce.Options{})
	if _, err := c.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Room(ctx, 1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("room while nothing is read: %v, want context.DeadlineExceeded", err)
	}
	if err := c.Room(t.Context(), 1001); err != nil {
		t.Error(err)
	}
	if c.Stalled() <= 0 {
		t.Error("a peer that reads nothing is not stalled")
	}
	waiting := make(chan error, 1)
	go func() { waiting <- c.Room(t.Context(), 1) }()
	if _, err := io.ReadFull(server, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	server.Close()
	c.Abort()
	if err := c.Room(t.Context(), 1); err == nil {
		t.Error("room on a connection that has ended")
	}
}

// sink takes everything.
type sink struct{ net.Conn }

func (sink) Write(p []byte) (int, error)      { return len(p), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }
func (sink) Close() error                     { return nil }

// TestBusyConnKeepsItsBuffers: as long as a large write comes now and then, small
// ones between do not make its buffers grow anew; when there is none for a while,
// they are let go.
func TestBusyConnKeepsItsBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 64 << 10
		c := coalesce.New(sink{}, coalesce.Options{Keep: keep})
		defer c.Abort()
		small, large := make([]byte, 100), make([]byte, 2*keep)
		put := func(p []byte, times int) {
			for range times {
				if _, err := c.Write(p); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		grown := func() uint64 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			put(small, 100)
			put(large, 2) // there are two buffers
			runtime.ReadMemStats(&after)
			return after.TotalAlloc - before.TotalAlloc
		}
		put(large, 2)
		if got := grown(); got >= keep {
			t.Errorf("a busy Conn allocated %d bytes for what it had room for", got)
		}
		<-time.After(time.Minute)
		if got := grown(); got < 2*keep {
			t.Errorf("a Conn that had been calm for a minute allocated %d bytes: it had kept more than it may", got)
		}
	})
}
