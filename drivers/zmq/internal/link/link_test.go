package link_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
)

func TestSizes(t *testing.T) {
	s := serve(t, nil, options(), limits())
	l := dial(t, s, nil)
	roundTrip(t, l, []byte("one frame"))
	roundTrip(t, l, []byte{})
	for _, size := range []int{0, 1, 254, 255, 256, 257, 16<<10 - 1, 16 << 10, 16<<10 + 1, 64 << 10, 64<<10 + 1, 200_000, 1<<20 - 100} {
		body := bytes.Repeat([]byte{byte(size)}, size)
		roundTrip(t, l, []byte("head"), []byte("second"), body)
		if size < 1<<20-100 {
			roundTrip(t, l, []byte("head"), body)
		}
	}
}

// TestPieces reads messages that come in pieces of any size, with commands between
// them. Bodies are the reader's own for ever, though small ones share memory.
func TestPieces(t *testing.T) {
	var want [][3]string
	stream := hello()
	for i := range 2000 {
		text := func(n int) string { return strings.Repeat(string(rune('a'+i%26)), n) }
		m := [3]string{text(24), text(i % 40), text(i * 7 % 400)}
		if i%100 == 99 {
			m[2] = text(i * 50)
		}
		want = append(want, m)
		stream = append(stream, frames([]byte(m[0]), []byte(m[1]), []byte(m[2]))...)
		if i%13 == 0 {
			stream = append(stream, command("PING", []byte{0, 1})...)
		}
	}
	for name, pieces := range map[string]func(io.Reader) io.Reader{
		"as large as can be": func(r io.Reader) io.Reader { return r },
		"halves":             iotest.HalfReader,
		"bytes":              iotest.OneByteReader,
		"the end with data":  iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			l, err := link.Open(t.Context(), &script{say: pieces(bytes.NewReader(stream))}, true, nil, &o)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Abort(io.EOF)
			var m link.Message
			bodies := make([][]byte, len(want))
			for i := range want {
				if err := l.Read(&m); err != nil {
					t.Fatal(err)
				}
				if string(m.Head) != want[i][0] || string(m.Second) != want[i][1] || m.Frames != 3 {
					t.Fatalf("message %d: %q, %q", i, m.Head, m.Second)
				}
				bodies[i] = m.Third
				_ = append(m.Third, "this must not get into the next one"...)
				if head := string(m.Head); l.Ready() && head != string(m.Head) {
					t.Fatalf("Ready changed message %d", i)
				}
			}
			for i := range want {
				if string(bodies[i]) != want[i][2] {
					t.Fatalf("body %d: %q, want %q", i, bodies[i], want[i][2])
				}
			}
			if err := l.Read(&m); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// TestBuffered: what is over a limit is refused as well when all of it is in the read
// buffer already, behind a message that is not.
func TestBuffered(t *testing.T) {
	good := frames([]byte("head"), []byte("second"), make([]byte, 80))
	for name, tt := range map[string]struct {
		give []byte
		want error
	}{
		"a message":              {frames([]byte("head"), []byte("second"), make([]byte, 100)), link.ErrLimit},
		"a first frame":          {frames(make([]byte, 65)), link.ErrLimit},
		"frames":                 {[]byte{1, 0, 1, 0, 1, 0, 0, 0}, link.ErrLimit},
		"flags":                  {[]byte{8, 0}, link.ErrProtocol},
		"a command in a message": {append([]byte{1, 0}, command("PING", []byte{0, 1})...), link.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.MaxMessage = 100
			stream := slices.Concat(hello(), good, tt.give)
			l, err := link.Open(t.Context(), &script{say: bytes.NewReader(stream)}, true, nil, &o)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Abort(io.EOF)
			var m link.Message
			if err := l.Read(&m); err != nil || len(m.Third) != 80 {
				t.Fatalf("a good message: %d bytes, %v", len(m.Third), err)
			}
			if err := l.Read(&m); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestPipe(t *testing.T) {
	a, b := link.Pipe(t.Context(), options())
	go echo(b)
	roundTrip(t, a, []byte("head"), []byte("second"), make([]byte, 100_000))
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestPlain(t *testing.T) {
	s := serve(t, plain("me", "s3cret"), options(), limits())
	roundTrip(t, dial(t, s, plain("me", "s3cret")), []byte("in"))
	o := options()
	for name, tt := range map[string]struct {
		give link.Security
		want error
	}{
		"another password": {plain("me", "S3cret"), link.ErrAuth},
		"a longer one":     {plain("me", "s3crets"), link.ErrAuth},
		"none":             {plain("me", ""), link.ErrAuth},
		"another user":     {plain("you", "s3cret"), link.ErrAuth},
		"no mechanism":     {nil, link.ErrMechanism},
	} {
		_, err := link.Dial(t.Context(), "tcp", s.Addr().String(), nil, tt.give, &o, nil)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	open := serve(t, nil, options(), limits())
	if _, err := link.Dial(t.Context(), "tcp", open.Addr().String(), nil, plain("me", "s3cret"), &o, nil); !errors.Is(err, link.ErrMechanism) {
		t.Errorf("a password for who wants none: %v, want %v", err, link.ErrMechanism)
	}
}

// TestCredentialsRotate: what the func says counts at each handshake.
func TestCredentialsRotate(t *testing.T) {
	now := make(chan string, 1)
	rotating := func(context.Context) (link.Credentials, error) {
		p := <-now
		now <- p
		return link.Credentials{Username: "me", Password: p}, nil
	}
	now <- "old"
	s := serve(t, rotating, options(), limits())
	dial(t, s, plain("me", "old"))
	<-now
	now <- "new"
	dial(t, s, plain("me", "new"))
	o := options()
	if _, err := link.Dial(t.Context(), "tcp", s.Addr().String(), nil, plain("me", "old"), &o, nil); !errors.Is(err, link.ErrAuth) {
		t.Errorf("the old password: %v, want %v", err, link.ErrAuth)
	}
}

// TestSilence: a peer that says nothing more is noticed, and one that answers
// PINGs is not.
func TestSilence(t *testing.T) {
	o := options()
	o.Heartbeat, o.Silence = 20*time.Millisecond, 400*time.Millisecond
	s := serve(t, nil, o, limits())
	quiet := dial(t, s, nil) // it answers PINGs while it reads
	reading := make(chan error, 1)
	go func() { reading <- quiet.Read(new(link.Message)) }()

	mute := raw(t, s)
	if _, err := mute.Write(hello()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	hangsUp(t, mute)
	if took := time.Since(began); took < o.Silence/2 {
		t.Errorf("it was given up after %v already", took)
	}
	select {
	case err := <-reading:
		t.Errorf("a peer that answers was given up: %v", err)
	default:
	}
	if err := quiet.Write(frames([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := <-reading; err != nil {
		t.Error(err)
	}
}

// TestPing: a PING of libzmq is answered with its context.
func TestPing(t *testing.T) {
	s := serve(t, nil, options(), limits())
	c := raw(t, s)
	ping := command("PING", []byte{0, 10, 'c', 't', 'x'})
	if _, err := c.Write(append(hello(), ping...)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	buf := make([]byte, 4096)
	for pong := command("PONG", []byte("ctx")); !bytes.Contains(got, pong); {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("no PONG: %v, received %q", err, got)
		}
		got = append(got, buf[:n]...)
	}
}

// TestStuckPeer: who reads nothing costs others nothing, is not read from while
// a lot waits for him, and is given up after the write timeout.
func TestStuckPeer(t *testing.T) {
	o := options()
	o.WriteTimeout = 300 * time.Millisecond
	s := serve(t, nil, o, limits())
	stuck := raw(t, s)
	if _, err := stuck.Write(hello()); err != nil {
		t.Fatal(err)
	}
	if err := stuck.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	message := frames([]byte("head"), []byte("second"), make([]byte, 256<<10))
	sent := 0
	for {
		n, err := stuck.Write(message)
		sent += n
		if err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				t.Errorf("after %d bytes the peer is neither read nor given up", sent)
			}
			break
		}
	}
	roundTrip(t, dial(t, s, nil), []byte("others go on"))
}

// TestRoom: who writes can wait until the peer has read.
func TestRoom(t *testing.T) {
	s := serve(t, nil, options(), limits())
	l := dial(t, s, nil)
	if err := l.Room(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, b := link.Pipe(t.Context(), options())
	defer b.Abort(errors.New("over"))
	if err := a.Write(frames([]byte("head"), []byte{}, make([]byte, 2<<20)), frames([]byte("x"), []byte{}, make([]byte, 2<<20))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := a.Room(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("room while the peer reads nothing: %v, want context.DeadlineExceeded", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- a.Room(t.Context()) }()
	a.Abort(net.ErrClosed)
	if err := <-waiting; err == nil {
		t.Error("room on a link that ended")
	}
}

func TestDialErrors(t *testing.T) {
	o := options()
	o.Handshake = 50 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	dialIt := func() error {
		_, err := link.Dial(t.Context(), "tcp", address, nil, nil, &o, nil)
		return err
	}
	if err := dialIt(); err == nil || link.IsAbsent(err) { // the kernel takes the connection, and nobody speaks
		t.Errorf("a mute peer: %v", err)
	}
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	(<-accepted).Close()
	go func() {
		for c := range accepted {
			c.Close()
		}
	}()
	o.Handshake = limit
	if err := dialIt(); !errors.Is(err, link.ErrHungUp) || !link.IsAbsent(err) {
		t.Errorf("a peer that hangs up: %v, want %v", err, link.ErrHungUp)
	}
	ln.Close()
	if err := dialIt(); !link.IsAbsent(err) {
		t.Errorf("nobody: %v is not absent", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := link.Dial(ctx, "tcp", address, nil, nil, &o, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled dial: %v, want context.Canceled", err)
	}
}

// TestAhead: who has written much waits for the peer to read before it reads itself,
// unless what it wrote is bounded otherwise.
func TestAhead(t *testing.T) {
	a, b := link.Pipe(t.Context(), options())
	defer a.Abort(errors.New("the test is over"))
	defer b.Abort(errors.New("the test is over"))
	const large = 2 << 20 // no buffer is beneath a pipe
	a.Ahead(large)
	if err := a.Write(make([]byte, large)); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(frames([]byte("one"))); err != nil {
		t.Fatal(err)
	}
	var m link.Message
	if err := a.Read(&m); err != nil || string(m.Head) != "one" {
		t.Fatalf("%q, %v", m.Head, err)
	}
	a.Ahead(-large) // it says that it has read it, and has not
	read := make(chan error, 1)
	go func() { read <- a.Read(&m) }()
	if err := b.Write(frames([]byte("two"))); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-read:
		t.Errorf("%q, %v was read from who does not read", m.Head, err)
	case <-time.After(50 * time.Millisecond): // what is shown is that nothing happens meanwhile
	}
}

// TestCredentialsThatDoNotCome: whoever is asked for credentials has the time of a
// handshake, as the peer has.
func TestCredentialsThatDoNotCome(t *testing.T) {
	o := options()
	o.Handshake = 100 * time.Millisecond
	hangs := func(ctx context.Context) (link.Credentials, error) {
		<-ctx.Done()
		return link.Credentials{}, context.Cause(ctx)
	}
	s := serve(t, hangs, o, limits())
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	select {
	case err := <-s.refused:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(limit):
		t.Error("the handshake does not end")
	}
}
