package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// What `make rates` sets: how many calls of each pair there are in a round, and rounds.
const (
	callsVariable  = "PATCHBAY_INTEROP_CALLS"
	roundsVariable = "PATCHBAY_INTEROP_ROUNDS"
)

// TestManyCalls: with many calls in flight between both languages there is no error.
// It tells what each pair makes of it, measured in rounds, A B C A B C, so that what
// else the machine does meets all of them alike. `make rates` has it do so at length.
func TestManyCalls(t *testing.T) {
	t.Parallel()
	c := startContest(t)
	calls, rounds, inFlight := 300, 1, []int{16}
	if text := os.Getenv(callsVariable); text != "" {
		calls, rounds, inFlight = number(t, text), number(t, os.Getenv(roundsVariable)), []int{16, 64}
	}
	for _, n := range inFlight {
		results := make(map[string][]result)
		for range rounds {
			for _, p := range contestants {
				r := c.run(t, p, calls*p.times, n)
				results[p.name] = append(results[p.name], r)
				t.Logf("%d in flight, %s: %.0f/s", n, p.name, r.rate)
			}
		}
		t.Logf("%d rounds of %d calls, 10 times as many of Go with Go:\n%s", rounds, calls, summary(n, results))
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%q is not a number above 0", text)
	}
	return n
}

// contestant is a pair that is measured.
type contestant struct {
	name, client, topic string
	times               int // as many calls
}

const (
	pyCaller = "Python client"
	goCaller = "Go client"
	broker   = "broker"
)

// The first is what the others are compared with.
var contestants = []contestant{
	{"Python to Python", pyCaller, pyTopic, 1},
	{"Python to Go", pyCaller, goTopic, 1},
	{"Go to Python", goCaller, pyTopic, 1},
	{"Go to Go", goCaller, goTopic, 10}, // or it is over too soon
}

// result is what a run of a contestant measured; CPU is in microseconds for each call.
type result struct {
	rate, client, server, broker float64
}

// contest is all that is measured: each client and server is a process of its own,
// but the Go client, which is this one.
type contest struct {
	clients map[string]flooder
	cpu     map[string]func() (time.Duration, error) // of clients, of servers by topic, and of the broker
}

// flooder makes calls, some at once, and returns how long they took.
type flooder func(t *testing.T, topic string, calls, inFlight int) time.Duration

func startContest(t *testing.T) *contest {
	t.Helper()
	url := vhost(t)
	servers, clients := startPeer(t), startPeer(t)
	servers.serve(t, url, pyTopic, host, false)
	golang := startServiceProcess(t, url)
	c := &contest{
		clients: map[string]flooder{pyCaller: pyFlooder(clients, url), goCaller: goFlooder(open(t, url))},
		cpu: map[string]func() (time.Duration, error){
			pyCaller: clients.cpu, goCaller: ownCPU, pyTopic: servers.cpu, goTopic: golang.cpu,
			broker: func() (time.Duration, error) { return 0, nil },
		},
	}
	u, err := messaging.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	read, err := bench.ContainerCPU(t.Context(), strconv.Itoa(u.Hosts[0].Port))
	if err == nil {
		c.cpu[broker] = func() (time.Duration, error) { return read(t.Context()) }
	} else {
		t.Logf("the broker's CPU time is unknown: %v", err)
	}
	return c
}

// cpu returns the CPU time of a process, which has no children.
func (p *process) cpu() (time.Duration, error) { return bench.TreeCPU(strconv.Itoa(p.cmd.Process.Pid)) }

// ownCPU is without children, of which this process has many.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), err
}

// run measures a contestant once.
func (c *contest) run(t *testing.T, p contestant, calls, inFlight int) result {
	t.Helper()
	read := func() (all [3]time.Duration) {
		for i, read := range []func() (time.Duration, error){c.cpu[p.client], c.cpu[p.topic], c.cpu[broker]} {
			var err error
			if all[i], err = read(); err != nil {
				t.Logf("CPU time is unknown: %v", err)
			}
		}
		return all
	}
	before := read()
	took := c.clients[p.client](t, p.topic, calls, inFlight)
	after := read()
	per := func(i int) float64 { return float64((after[i] - before[i]).Microseconds()) / float64(calls) }
	return result{float64(calls) / took.Seconds(), per(0), per(1), per(2)}
}

// floodArgs are those of each call, and its result, as both languages write them.
var floodArgs = fmt.Sprintf(`{"value": "%s"}`, strings.Repeat("x", 100))

func pyFlooder(p *peer, url string) flooder {
	return func(t *testing.T, topic string, calls, inFlight int) time.Duration {
		t.Helper()
		id := p.start(t, command{Do: "flood", URL: url, Topic: topic, Args: floodArgs, Timeout: patience.Seconds(), Count: calls, InFlight: inFlight})
		var r struct {
			Seconds float64
			Errors  int
			First   string
		}
		done := p.awaitFor(t, 1, 10*time.Minute, "done with the calls", func(e event) bool { return e.Event == "done" && e.ID == id })[0]
		if done.Error != nil {
			t.Fatal(done.Error)
		}
		if err := json.Unmarshal([]byte(done.Result), &r); err != nil {
			t.Fatal(err)
		}
		if r.Errors > 0 {
			t.Errorf("%d of %d calls to %s failed, the first with %s", r.Errors, calls, topic, r.First)
		}
		return time.Duration(r.Seconds * float64(time.Second))
	}
}

func goFlooder(transport *messaging.Transport) flooder {
	return func(t *testing.T, topic string, calls, inFlight int) time.Duration {
		t.Helper()
		client := rpc.NewClient(transport, messaging.Target{Topic: topic}, &rpc.ClientOptions{Timeout: patience})
		args := json.RawMessage(floodArgs)
		call := func() error {
			got, err := rpc.CallFor[json.RawMessage](t.Context(), client, "echo", args)
			if err == nil && string(got) != floodArgs {
				err = fmt.Errorf("the result is %.100q", got)
			}
			return err
		}
		if err := call(); err != nil { // connects
			t.Fatal(err)
		}
		var left, failed atomic.Int64
		left.Store(int64(calls))
		begin := time.Now()
		var wg sync.WaitGroup
		for range inFlight {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if err := call(); err != nil && failed.Add(1) == 1 {
						t.Errorf("a call to %s failed: %v", topic, err)
					}
				}
			})
		}
		wg.Wait()
		if n := failed.Load(); n > 1 {
			t.Errorf("%d of %d calls to %s failed", n, calls, topic)
		}
		return time.Since(begin)
	}
}

// summary is a table of the medians, and of the medians of the rounds' ratios.
func summary(inFlight int, results map[string][]result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| call, %d in flight, 100 B | rate/s | × | CPU µs: client | server | broker |\n|---|--:|--:|--:|--:|--:|\n", inFlight)
	anchor := results[contestants[0].name]
	for _, p := range contestants {
		of := func(figure func(i int, r result) float64) float64 {
			var all []float64
			for i, r := range results[p.name] {
				all = append(all, figure(i, r))
			}
			slices.Sort(all)
			return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.2f | %.0f | %.0f | %.0f |\n", p.name,
			of(func(_ int, r result) float64 { return r.rate }),
			of(func(i int, r result) float64 { return r.rate / anchor[i].rate }),
			of(func(_ int, r result) float64 { return r.client }),
			of(func(_ int, r result) float64 { return r.server }),
			of(func(_ int, r result) float64 { return r.broker }))
	}
	return b.String()
}
