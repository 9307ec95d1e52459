// Package discoverytest holds what every discovery backend owes the zmq driver, as
// a suite that the backends' tests run.
package discoverytest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/messaging"
)

// Harness tells the suite how to reach a backend.
type Harness struct {
	Backend discovery.Backend
	// URL returns the URL of another node of the group that the test has for itself.
	URL func(t *testing.T) string
	// Lease is how long a registration outlives its process, at most.
	Lease time.Duration
	// StopStore makes the store that the backend needs answer nobody, and returns
	// what ends that. Nil: there is no store.
	StopStore func(t *testing.T) (restart func())
}

// limit bounds what the suite waits for, generously.
const limit = 30 * time.Second

// Run runs the suite. The package's tests call Main first.
func Run(t *testing.T, h Harness) {
	t.Run("register_visible", func(t *testing.T) { h.registerVisible(t) })
	t.Run("leave_seen", func(t *testing.T) { h.leaveSeen(t) })
	t.Run("lease_gone_after_kill9", func(t *testing.T) { h.kill9(t) })
	t.Run("flapping_bounded", func(t *testing.T) { h.flapping(t) })
	if h.StopStore != nil {
		t.Run("store_down_keeps_last_view", func(t *testing.T) { h.storeDown(t) })
	}
}

// childVariable holds the URL and the endpoint of the process that is killed.
const childVariable = "PATCHBAY_DISCOVERY_CHILD"

// Main is what TestMain calls: in the process that a test kills it registers an
// endpoint and waits for that; else it runs the tests.
func Main(m *testing.M, b discovery.Backend) int {
	url := os.Getenv(childVariable)
	if url == "" {
		return m.Run()
	}
	ctx := context.Background() //nolint:forbidigo // the root of a program
	d, err := open(ctx, b, url)
	if err == nil {
		err = d.Watch(ctx, func([]string) {})
	}
	if err == nil {
		_, err = d.Register(ctx, os.Getenv(childVariable+"_ENDPOINT"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, "registered")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func open(ctx context.Context, b discovery.Backend, rawURL string) (discovery.Discovery, error) {
	u, err := messaging.ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	r := u.Options()
	r.String("discovery", "") // the driver's
	r.String("insecure", "")
	connect := b.Configure(u, r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	var hosts []messaging.HostPort
	for _, host := range u.Hosts {
		hosts = append(hosts, host.HostPort())
	}
	return connect(ctx, discovery.Config{Hosts: hosts, Name: "test", Logger: slog.New(slog.DiscardHandler)})
}

// node is a view, and what it has seen.
type node struct {
	discovery.Discovery

	mu      sync.Mutex // protects the following
	last    []string
	times   int
	changed chan struct{} // closed and replaced at each view
}

func (h *Harness) open(t *testing.T) *node {
	t.Helper()
	d, err := open(t.Context(), h.Backend, h.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Discovery: d, changed: make(chan struct{})}
	t.Cleanup(func() {
		if err := d.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err := d.Watch(t.Context(), n.see); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) see(endpoints []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = slices.Clone(endpoints)
	n.times++
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) register(t *testing.T, endpoint string) discovery.Lease {
	t.Helper()
	l, err := n.Register(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// until waits until the node sees an endpoint, or does not any more, and returns
// how long that took.
func (n *node) until(t *testing.T, endpoint string, there bool) time.Duration {
	t.Helper()
	began := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		n.mu.Lock()
		last, changed := n.last, n.changed
		n.mu.Unlock()
		if slices.Contains(last, endpoint) == there {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("after %v the view is %v, and %s should be in it: %v", limit, last, endpoint, there)
		}
	}
}

// registerVisible: who is there already sees a node soon, and who comes later at
// once: a client that starts when its server is ready finds it.
func (h *Harness) registerVisible(t *testing.T) {
	before := h.open(t)
	here := h.open(t)
	here.register(t, "tcp://visible:1")
	t.Logf("seen after %v", before.until(t, "tcp://visible:1", true))
	here.until(t, "tcp://visible:1", true)
	for i := range 3 {
		endpoint := fmt.Sprintf("tcp://visible:%d", 2+i)
		h.open(t).register(t, endpoint)
		later := h.open(t)
		later.mu.Lock()
		if !slices.Contains(later.last, endpoint) {
			t.Errorf("who comes after %s sees %v first", endpoint, later.last)
		}
		later.mu.Unlock()
	}
}

// leaveSeen: who leaves in good order is gone at once, not when its lease ends.
func (h *Harness) leaveSeen(t *testing.T) {
	watcher, stays, leaves := h.open(t), h.open(t), h.open(t)
	stays.register(t, "tcp://stays:1")
	l := leaves.register(t, "tcp://leaves:1")
	watcher.until(t, "tcp://stays:1", true)
	watcher.until(t, "tcp://leaves:1", true)
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("seen after %v", watcher.until(t, "tcp://leaves:1", false))
	watcher.until(t, "tcp://stays:1", true)
}

// kill9: a node whose process dies does not stay for ever.
func (h *Harness) kill9(t *testing.T) {
	watcher := h.open(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program)
	child.Env = append(os.Environ(), childVariable+"="+h.URL(t), childVariable+"_ENDPOINT=tcp://killed:1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	watcher.until(t, "tcp://killed:1", true)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	took := watcher.until(t, "tcp://killed:1", false)
	t.Logf("its lease was gone after %v", took)
	if h.Lease > 0 && took > h.Lease+limit/2 {
		t.Errorf("it stayed for %v, its lease was %v", took, h.Lease)
	}
}

// flapping: however often nodes come and go, the others look now and then only,
// and see the end of it.
func (h *Harness) flapping(t *testing.T) {
	watcher, flaps := h.open(t), h.open(t)
	const times = 50
	for i := range times {
		l := flaps.register(t, "tcp://flaps:1")
		if i == times-1 {
			break
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	watcher.until(t, "tcp://flaps:1", true)
	watcher.mu.Lock()
	defer watcher.mu.Unlock()
	t.Logf("%d changes were seen as %d views", 2*times-1, watcher.times)
	if watcher.times > 2*times {
		t.Errorf("%d changes were seen as %d views", 2*times-1, watcher.times)
	}
}

// storeDown: while the store is away everybody keeps what they knew, and goes on
// when it is back.
func (h *Harness) storeDown(t *testing.T) {
	watcher, here := h.open(t), h.open(t)
	here.register(t, "tcp://here:1")
	watcher.until(t, "tcp://here:1", true)
	restart := h.StopStore(t)
	watcher.mu.Lock()
	before := watcher.times
	watcher.mu.Unlock()
	<-time.After(h.Lease / 2) // what is shown is that nothing happens meanwhile
	watcher.mu.Lock()
	if watcher.times != before || !slices.Contains(watcher.last, "tcp://here:1") {
		t.Errorf("without its store the view became %v", watcher.last)
	}
	watcher.mu.Unlock()
	restart()
	later := h.open(t)
	later.until(t, "tcp://here:1", true) // it took its lease again
	later.register(t, "tcp://later:1")
	watcher.until(t, "tcp://later:1", true)
}
