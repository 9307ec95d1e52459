package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/internal/brokertest"
)

// benchLine is a line of bench --json. What is null stays nil.
type benchLine struct {
	URL      string  `json:"url"`
	Pattern  string  `json:"pattern"`
	InFlight int     `json:"inflight"`
	Size     int     `json:"size"`
	Servers  int     `json:"servers"`
	Ops      int64   `json:"ops"`
	Errors   *int64  `json:"errors"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"rate"`
	Latency  struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
	} `json:"latency_us"`
	CPU struct {
		Client *float64 `json:"client"`
		Server *float64 `json:"server"`
	} `json:"cpu_us_per_op"`
	Allocs struct {
		Client *float64 `json:"client"`
		Server *float64 `json:"server"`
	} `json:"allocs_per_op"`
}

func decodeBench(t *testing.T, r result) (line benchLine) {
	t.Helper()
	if r.code != 0 || r.stderr != "" || strings.Count(r.stdout, "\n") != 1 {
		t.Fatalf("exit %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
	}
	d := json.NewDecoder(strings.NewReader(r.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&line); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	return line
}

func TestBenchInMemory(t *testing.T) {
	for _, pattern := range []string{"call", "cast", "fanout"} {
		t.Run(pattern, func(t *testing.T) {
			got := decodeBench(t, start(t, "bench", "--url", "fake://", "--pattern", pattern,
				"--inflight", "3", "--size", "7", "--servers", "2", "--duration", "50ms", "--json").wait())
			if got.Ops < 1 || got.Errors == nil || *got.Errors != 0 || got.Rate <= 0 || got.Seconds <= 0 || got.Latency.P50 <= 0 || got.Latency.P99 < got.Latency.P50 {
				t.Errorf("nothing was measured: %+v", got)
			}
			if got.Allocs.Client == nil || got.Allocs.Server != nil || got.CPU.Server != nil {
				t.Errorf("one process, but costs %+v and %+v", got.Allocs, got.CPU)
			}
			want := benchLine{URL: "fake://", Pattern: pattern, InFlight: 3, Size: 7, Servers: 2}
			shown := benchLine{URL: got.URL, Pattern: got.Pattern, InFlight: got.InFlight, Size: got.Size, Servers: got.Servers}
			if diff := cmp.Diff(want, shown); diff != "" {
				t.Errorf("what was measured (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBenchOverABroker(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	got := decodeBench(t, start(t, "bench", "--url", url, "--duration", "200ms", "--json").wait())
	if got.Ops < 1 || got.Allocs.Client == nil || got.Allocs.Server == nil || *got.Allocs.Server <= 0 {
		t.Errorf("not measured in two processes: %+v", got)
	}
	if strings.Contains(got.URL, ":patchbay@") || !strings.Contains(got.URL, ":***@") {
		t.Errorf("url: %s", got.URL)
	}
}

func TestBenchForPeople(t *testing.T) {
	got := start(t, "bench", "--url", "fake://", "--duration", "20ms").wait()
	for _, want := range []string{"call, 64 in flight, 100 B over fake://\n", "rate ", "latency  p50 ", "CPU ", " in all\n"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is not in %q", want, got.stdout)
		}
	}
}

func TestBenchErrors(t *testing.T) {
	tests := []struct {
		name string
		args []string
		kind string
		code int
	}{
		{"no URL", nil, "usage", 2},
		{"pattern", []string{"--url", "fake://", "--pattern", "shout"}, "usage", 2},
		{"nothing in flight", []string{"--url", "fake://", "--inflight", "0"}, "usage", 2},
		{"no time", []string{"--url", "fake://", "--duration", "0s"}, "usage", 2},
		{"unknown scheme", []string{"--url", "carrier-pigeon://h/"}, "usage", 2},
		{"nobody there", []string{"--url", "rabbit://guest:s3cret@127.0.0.1:1/"}, "connect", 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := start(t, append([]string{"bench"}, tt.args...)...).wait()
			if f := got.failure(t); got.code != tt.code || f.Error != tt.kind || strings.Contains(got.stderr, "s3cret") {
				t.Errorf("exit %d, %+v", got.code, f)
			}
		})
	}
}
