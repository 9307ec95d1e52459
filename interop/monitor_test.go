package interop_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// outlasting is a call that takes longer than its monitor, and so lives by
// heartbeats. A server beats every half of the monitor: a machine or a broker that
// stands still for two seconds, as busy ones do, does not fail the test.
func outlasting() (request, outcome) {
	return request{method: "sleep", args: `{"seconds": 5.5}`, monitor: 5 * time.Second}, ok("5.5")
}

// sleepLong is a call that nobody waits out.
func sleepLong(topic string) request {
	return request{topic: topic, method: "sleep", args: `{"seconds": 300}`, timeout: 10 * patience, monitor: 2 * time.Second}
}

// TestMonitoredCalls: heartbeats keep a call alive that takes longer than its
// monitor.
func TestMonitoredCalls(t *testing.T) {
	t.Parallel()
	for _, p := range startPairs(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			// oslo.messaging's server goes on with heartbeats after this reply, to
			// the reply queue that the next call uses too.
			got := p.send(t, request{topic: p.topic, method: "nope", monitor: 5 * time.Second})
			if d := diff(t, noMethod("nope"), got); d != "" {
				t.Errorf("outcome of an unknown method (-want +got):\n%s", d)
			}
			long, want := outlasting()
			long.topic = p.topic
			if d := diff(t, want, p.send(t, long)); d != "" {
				t.Errorf("outcome (-want +got):\n%s", d)
			}
		})
	}
}

// TestPythonServerKilled: a monitored Go caller hears of the death of a server
// long before its timeout.
func TestPythonServerKilled(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	p := startPeer(t)
	server := p.serve(t, url, pyTopic, host, false)
	caller := goClient{open(t, url)}
	done := make(chan error, 1)
	go func() {
		_, err := caller.try(t, sleepLong(pyTopic))
		done <- err
	}()
	p.await(t, "asleep", server.told("called", "sleep"))
	p.kill(t)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case err := <-done:
		if !errors.Is(err, messaging.ErrServerLost) {
			t.Errorf("error %v, want one that is %q", err, messaging.ErrServerLost)
		}
	case <-ctx.Done():
		t.Error("the caller was not told that the server went away")
	}
}

// TestGoServerKilled: the same for a Python caller of a Go server.
func TestGoServerKilled(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	server := startServiceProcess(t, url)
	caller := pyClient{sharedPeer(t), url}
	id := caller.start(t, caller.command(t, sleepLong(goTopic)))
	server.await(t, "asleep", func(e event) bool { return e.Event == "called" && e.Method == "sleep" })
	server.kill(t)
	got := caller.finish(t, id).outcome() // fails when it takes as long as the timeout
	if d := diff(t, outcome{kind: timedOut}, got); d != "" {
		t.Errorf("outcome (-want +got):\n%s", d)
	}
}
