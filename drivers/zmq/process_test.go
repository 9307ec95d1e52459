package zmq_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/gossip"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/redis"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// limit bounds what a test waits for, generously.
const limit = 60 * time.Second

// childVariable holds what a process that a test starts is to be.
const childVariable = "PATCHBAY_ZMQ_CHILD"

// role is a process with servers.
type role struct {
	URL     string
	Topic   string
	Servers []string
	Late    bool // acknowledge after the handler
}

func TestMain(m *testing.M) {
	text := os.Getenv(childVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		panic(err)
	}
	if err := r.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func registry() messaging.Registry {
	return messaging.Registry{"zmq": zmq.Opener(redis.Backend(), gossip.Backend())}
}

func quiet() *messaging.Options { return &messaging.Options{Logger: slog.New(slog.DiscardHandler)} }

// run serves until stdin ends. Each handled message is a line on stdout, written
// before its acknowledgement.
func (r *role) run() error {
	ctx := context.Background()
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(os.Stdout, line)
	}
	for _, name := range r.Servers {
		t, err := registry().Open(ctx, r.URL, quiet())
		if err != nil {
			return err
		}
		o := &rpc.ServerOptions{Logger: slog.New(slog.DiscardHandler), Ping: true}
		if r.Late {
			o.Ack = rpc.AckLate
		}
		srv, err := rpc.NewServer(t, messaging.Target{Topic: r.Topic, Server: name}, []*rpc.Endpoint{endpoint(name, say)}, o)
		if err == nil {
			err = srv.Start(ctx)
		}
		if err != nil {
			return err
		}
	}
	say("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

type keyArgs struct {
	Key string `json:"key"`
}

func endpoint(name string, say func(string)) *rpc.Endpoint {
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "record", func(_ context.Context, a keyArgs) (rpc.None, error) {
		say(name + " " + a.Key)
		return rpc.None{}, nil
	})
	rpc.Handle(ep, "whoami", func(context.Context, rpc.None) (string, error) { return name, nil })
	rpc.Handle(ep, "nap", func(ctx context.Context, _ rpc.None) (rpc.None, error) {
		say(name + " napping")
		<-ctx.Done()
		return rpc.None{}, ctx.Err()
	})
	return ep
}

// child is such a process.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when its output has
	over  sync.Once     // it was waited for

	mu      sync.Mutex // protects the following
	handled map[string]int
	total   int
	changed chan struct{}
}

func start(t *testing.T, r role) *child {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.CommandContext(t.Context(), program), ended: make(chan struct{}), handled: map[string]int{}, changed: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	ready := make(chan bool, 1)
	go func() {
		defer close(c.ended)
		ready <- lines.Scan() && lines.Text() == "ready"
		for lines.Scan() {
			c.note(lines.Text())
		}
	}()
	t.Cleanup(func() { c.kill(t) })
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("a server process did not get ready")
		}
	case <-time.After(limit):
		t.Fatal("a server process does not get ready")
	}
	return c
}

func (c *child) note(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, key, _ := strings.Cut(line, " ")
	c.handled[key]++
	c.total++
	close(c.changed)
	c.changed = make(chan struct{})
}

// kill ends the process as a crash does, and returns when all that it had said is
// known.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-c.ended
	c.over.Do(func() { _ = c.cmd.Wait() }) // it was killed
}

func (c *child) count(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handled[key]
}

func (c *child) all() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// until waits until the process has handled enough.
func (c *child) until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if enough() {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("waiting for %s", what)
		}
	}
}

// open returns a transport that is closed when the test ends.
func open(t *testing.T, url string) *messaging.Transport {
	t.Helper()
	tr, err := registry().Open(t.Context(), url, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := tr.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func await(t *testing.T, tr *messaging.Transport, topic string, members int) {
	t.Helper()
	if err := tr.Await(within(t, limit), messaging.Target{Topic: topic}.Address(), members); err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition that nobody announces.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for began := time.Now(); !cond(); <-time.After(2 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// nodesURL names n endpoints of this machine.
func nodesURL(tb testing.TB, n int, query string) string {
	tb.Helper()
	return "zmq://" + strings.Join(freePorts(tb, n), ",") + "/?" + query
}

func targetOf(topic string) messaging.Address { return messaging.Target{Topic: topic}.Address() }
