package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/bench"
)

func TestCompareInMemory(t *testing.T) {
	var stdout, stderr strings.Builder
	args := []string{"-patterns", "call,fanout", "-inflight", "1,2", "-rounds", "2", "-duration", "10ms", "-json"}
	if err := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		`{"name":"channels","round":2,`:  4,
		`{"name":"patchbay","round":2,`:  4,
		"| call, 2 in flight, 100 B | ":  1,
		"| fanout, 1 in flight, 100 B |": 1,
		"\n| channels | ":                4,
		"\n| patchbay | ":                4,
	} {
		if got := strings.Count(stdout.String(), text); got != want {
			t.Errorf("%q is there %d times, want %d, in\n%s", text, got, want, stdout.String())
		}
	}
}

func TestEntries(t *testing.T) {
	c := comparison{url: "rabbit://h/?heartbeat_timeout_threshold=9", only: "patchbay-native,amqp091"}
	got, err := c.entries(bench.Spec{URL: c.url})
	if err != nil {
		t.Fatal(err)
	}
	const native = "&wire=native"
	want := []bench.Entry{
		{Name: "patchbay-native", System: "patchbay", Spec: bench.Spec{URL: c.url + native}},
		{Name: "amqp091", System: "amqp091", Spec: bench.Spec{URL: c.url}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	c.only = "channels"
	if _, err := c.entries(bench.Spec{URL: c.url}); err == nil {
		t.Error("channels reach over a broker")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-inflight", "many"}, {"-patterns", "shout"}, {"-only", "absent"}, {"-nonsense"}} {
		var stdout, stderr strings.Builder
		if err := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); err == nil {
			t.Errorf("%v is no error", args)
		}
	}
	var stderr strings.Builder
	if err := run(t.Context(), []string{"-h"}, nil, nil, &stderr); err != nil || !strings.Contains(stderr.String(), "-rounds") {
		t.Errorf("-h: %v, %s", err, stderr.String())
	}
}
