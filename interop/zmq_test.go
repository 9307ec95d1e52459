package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/internal/freeport"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// A pyzmq node that was written from docs/wire.md, in both roles, with libzmq's
// heartbeats on: a peer that did not answer its PING would be dropped.
const (
	zmqCalls     = 500
	zmqHeartbeat = 100 * time.Millisecond
	zmqPause     = 1500 * time.Millisecond // more than its patience
)

func loopback(t *testing.T) string {
	t.Helper()
	all, release, err := freeport.Reserve(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return all[0]
}

func openZMQ(t *testing.T, address string) *messaging.Transport {
	t.Helper()
	// Our own heartbeats are on too, and often.
	tr, err := messaging.Registry{"zmq": zmq.Open}.Open(t.Context(), "zmq://"+address+"/?heartbeat_interval=0.2&heartbeat_timeout=2",
		&messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := tr.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func zmqPeer(address, role string, more ...string) []string {
	return append([]string{
		"-W", "ignore", "python/zmq_peer.py", role, "--address", "tcp://" + address, "--topic", "work", "--server", "s",
		"--heartbeat", fmt.Sprint(zmqHeartbeat.Milliseconds()),
	}, more...)
}

// TestPyZMQClient: a DEALER of libzmq calls, casts and fans out to our server.
func TestPyZMQClient(t *testing.T) {
	address := loopback(t)
	tr := openZMQ(t, address)
	var mu sync.Mutex
	got := map[string]int{}
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "echo", func(_ context.Context, a struct {
		Value json.RawMessage `json:"value"`
	},
	) (json.RawMessage, error) {
		return a.Value, nil
	})
	rpc.Handle(ep, "record", func(_ context.Context, a struct {
		Key string `json:"key"`
	},
	) (rpc.None, error) {
		mu.Lock()
		defer mu.Unlock()
		got[a.Key]++
		return rpc.None{}, nil
	})
	rpc.Handle(ep, "fail", func(_ context.Context, a struct {
		Message string `json:"message"`
	},
	) (rpc.None, error) {
		return rpc.None{}, rpc.NewError("builtins", "ValueError", a.Message)
	})
	srv, err := rpc.NewServer(tr, messaging.Target{Topic: "work", Server: "s"}, []*rpc.Endpoint{ep}, &rpc.ServerOptions{Ack: rpc.AckLate})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, zmqPeer(address, "call",
		"--calls", fmt.Sprint(zmqCalls), "--pause", fmt.Sprint(zmqPause.Seconds()))...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the Python client: %v (`make python` makes its environment)\n%s", err, stderr.String())
	}
	var done struct {
		Event    string
		Failure  string
		Outcomes []int
		Sources  int
	}
	if err := json.Unmarshal(out, &done); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if done.Event != "done" || done.Failure != "ValueError: on purpose" || len(done.Outcomes) != 1 || done.Outcomes[0] != 0 || done.Sources != 3 {
		t.Errorf("the Python client says %s", out)
	}
	if err := srv.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range zmqCalls {
		if n := got[fmt.Sprintf("cast/%d", i)]; n != 1 {
			t.Fatalf("cast %d was handled %d times", i, n)
		}
	}
	if got["named"] != 1 || got["fanout"] != 1 {
		t.Errorf("named: %d times, fanout: %d times", got["named"], got["fanout"])
	}
	if n := tr.Stats().ConnsLost; n != 0 {
		t.Errorf("%d links were lost: heartbeats fail", n)
	}
}

// TestPyZMQServer: a ROUTER of libzmq serves our client.
func TestPyZMQServer(t *testing.T) {
	address := loopback(t)
	peer := start(t, exec.Command(python, zmqPeer(address, "serve")...))
	_ = peer
	tr := openZMQ(t, address)
	if err := tr.Await(t.Context(), messaging.Target{Topic: "work"}.Address(), 1); err != nil {
		t.Fatal(err)
	}
	c := rpc.NewClient(tr, messaging.Target{Topic: "work"}, &rpc.ClientOptions{Timeout: patience})
	named := c.Prepare(rpc.WithServer("s"))
	for i := range zmqCalls {
		value := strings.Repeat("x", i*37%37000)
		via := c
		if i%2 == 1 {
			via = named
		}
		got, err := rpc.CallFor[string](t.Context(), via, "echo", rpc.Args{"value": value})
		if err != nil || got != value {
			t.Fatalf("call %d: %d characters came back of %d, %v", i, len(got), len(value), err)
		}
	}
	var wg sync.WaitGroup
	for i := range zmqCalls {
		wg.Go(func() {
			if err := c.Cast(t.Context(), "record", rpc.Args{"key": fmt.Sprintf("cast/%d", i)}); err != nil {
				t.Errorf("cast %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if err := named.Cast(t.Context(), "record", rpc.Args{"key": "one"}); err != nil {
		t.Error(err)
	}
	if err := c.Fanout(t.Context(), "record", rpc.Args{"key": "all"}); err != nil {
		t.Error(err)
	}
	<-time.After(zmqPause) // idle, so that heartbeats alone keep the link
	var remote *rpc.RemoteError
	if err := c.Call(t.Context(), "fail", rpc.Args{"message": "on purpose"}, nil); !errors.As(err, &remote) || remote.Class != "ValueError" {
		t.Errorf("a failure arrived as %v", err)
	}
	counts, err := rpc.CallFor[map[string]int](t.Context(), c, "counts", rpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range zmqCalls {
		if n := counts[fmt.Sprintf("cast/%d", i)]; n != 1 {
			t.Fatalf("cast %d was handled %d times", i, n)
		}
	}
	if counts["one by name"] != 1 || counts["all by fanout"] != 1 {
		t.Errorf("named: %d times, fanout: %d times", counts["one by name"], counts["all by fanout"])
	}
	if hellos, err := rpc.CallFor[int](t.Context(), c, "hellos", rpc.None{}); err != nil || hellos != 1 {
		t.Errorf("%d greetings came over %v, want one link", hellos, err)
	}
	if n := tr.Stats().ConnsLost; n != 0 {
		t.Errorf("%d links were lost: heartbeats fail", n)
	}
}
