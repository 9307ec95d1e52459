package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

// clockwork is a System whose every operation takes a millisecond.
type clockwork struct {
	tallies []*bench.Tally
	closed  atomic.Int32
	fails   func(n int64) bool // the n-th operation
	loses   bool               // accepts, and handles nothing
	done    atomic.Int64
}

func (*clockwork) InMemory(*bench.Spec) bool { return true }

func (c *clockwork) Serve(_ context.Context, _ *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	c.tallies = append(c.tallies, t)
	return bench.CloserFunc(func(context.Context) error { c.closed.Add(1); return nil }), nil
}

func (c *clockwork) Dial(context.Context, *bench.Spec) (bench.Client, error) { return c, nil }

var errClockwork = errors.New("out of order")

func (c *clockwork) Do(context.Context) error {
	<-time.After(time.Millisecond)
	if n := c.done.Add(1); c.fails != nil && c.fails(n) {
		return errClockwork
	}
	if !c.loses {
		for _, t := range c.tallies {
			t.Add()
		}
	}
	return nil
}

func (c *clockwork) Close(context.Context) error { c.closed.Add(1); return nil }

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clockwork{}
		r := &bench.Runner{Systems: map[string]bench.System{"c": c}}
		spec := bench.Spec{Pattern: bench.Fanout, InFlight: 10, Size: 3, Servers: 2, Duration: 2 * time.Second}
		got, err := r.Measure(t.Context(), "c", spec)
		if err != nil {
			t.Fatal(err)
		}
		want := &bench.Sample{
			Pattern: bench.Fanout, InFlight: 10, Size: 3, Servers: 2,
			Ops: 20_000, Seconds: 2, Rate: 10_000, Latency: bench.Latency{P50: 1000, P99: 1000},
		}
		near := cmpopts.EquateApprox(1./32, 0)
		if diff := cmp.Diff(want, got, near, cmpopts.IgnoreFields(bench.Sample{}, "CPU", "Allocs")); diff != "" {
			t.Errorf("sample (-want +got):\n%s", diff)
		}
		if got.Allocs.Client == nil || got.CPU.Server != nil || got.Allocs.Server != nil || got.BrokerCPU != nil {
			t.Errorf("costs of one process: %+v, %+v", got.CPU, got.Allocs)
		}
		if n := c.closed.Load(); n != 3 {
			t.Errorf("%d of two servers and a client were closed", n)
		}
	})
}

func TestMeasureCountsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &bench.Runner{Systems: map[string]bench.System{"c": &clockwork{fails: func(n int64) bool { return n%4 == 0 }}}}
		got, err := r.Measure(t.Context(), "c", bench.Spec{InFlight: 1, Duration: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if got.Ops != 750 || got.Errors != 250 || !errors.Is(got.FirstError, errClockwork) {
			t.Errorf("%d done, %d failed: %v", got.Ops, got.Errors, got.FirstError)
		}
	})
}

func TestMeasureErrors(t *testing.T) {
	tests := []struct {
		name   string
		system bench.System
		spec   bench.Spec
		want   error
	}{
		{"all fail", &clockwork{fails: func(int64) bool { return true }}, bench.Spec{}, errClockwork},
		{"all is lost", &clockwork{loses: true}, bench.Spec{}, bench.ErrUnhandled},
		{"unknown system", nil, bench.Spec{}, bench.ErrSpec},
		{"unknown pattern", &clockwork{}, bench.Spec{Pattern: "shout"}, bench.ErrSpec},
		{"negative", &clockwork{}, bench.Spec{Servers: -1}, bench.ErrSpec},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &bench.Runner{Systems: map[string]bench.System{}}
				if tt.system != nil {
					r.Systems["c"] = tt.system
				}
				tt.spec.Duration = 50 * time.Millisecond
				if _, err := r.Measure(t.Context(), "c", tt.spec); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			})
		})
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c := &clockwork{fails: func(int64) bool { return ctx.Err() != nil }}
		r := &bench.Runner{Systems: map[string]bench.System{"c": c}}
		_, err := r.Measure(ctx, "c", bench.Spec{InFlight: 1, Duration: time.Hour})
		if !errors.Is(err, context.DeadlineExceeded) || c.closed.Load() != 2 {
			t.Errorf("%v, %d of a server and a client were closed", err, c.closed.Load())
		}
		if errors.Is(err, errClockwork) {
			t.Errorf("%v: the operations that it cut short are no news", err)
		}
	})
}

// TestSystemsInMemory measures what exists, as long as it takes to see that it works.
func TestSystemsInMemory(t *testing.T) {
	registry := messaging.Registry{"fake": fake.New(nil).Open}
	r := &bench.Runner{Systems: map[string]bench.System{
		"channels": bench.Channels(),
		"patchbay": bench.Patchbay(registry, slog.New(slog.DiscardHandler)),
	}}
	for name := range maps.Keys(r.Systems) {
		for _, pattern := range bench.Patterns() {
			t.Run(name+"/"+string(pattern), func(t *testing.T) {
				got, err := r.Measure(t.Context(), name, bench.Spec{
					URL: "fake://", Pattern: pattern, InFlight: 4, Servers: 3, Duration: 20 * time.Millisecond,
				})
				if err != nil {
					t.Fatal(err)
				}
				if got.Ops < 1 || got.Errors != 0 {
					t.Errorf("%d done, %d failed: %v", got.Ops, got.Errors, got.FirstError)
				}
			})
		}
	}
}

// TestCompareInterleaves holds that no system has a time of its own.
func TestCompareInterleaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &bench.Runner{Systems: map[string]bench.System{"c": &clockwork{}}}
		spec := bench.Spec{InFlight: 1, Duration: 10 * time.Millisecond}
		var told []string
		records, err := r.Compare(t.Context(), []bench.Entry{{"a", "c", spec}, {"b", "c", spec}}, 2,
			func(r bench.Record) { told = append(told, r.Name) })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a", "b", "a", "b"}, told); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		if len(records) != 4 || records[3].Round != 2 {
			t.Errorf("%+v", records)
		}
	})
}

func TestCompareSaysWhatFailed(t *testing.T) {
	r := &bench.Runner{}
	_, err := r.Compare(t.Context(), []bench.Entry{{Name: "ours", System: "absent"}}, 1, nil)
	if want := "measuring ours, round 1: "; !errors.Is(err, bench.ErrSpec) || err.Error()[:len(want)] != want {
		t.Errorf("error %q", err)
	}
}

// TestRecordAsJSON holds the names that scripts read.
func TestRecordAsJSON(t *testing.T) {
	data, err := json.Marshal(bench.Record{Name: "a", Round: 2, Sample: bench.Sample{BrokerCPU: new(1.5), FirstError: errClockwork}})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"allocs_per_op", "broker_cpu_us_per_op", "cpu_us_per_op", "errors", "inflight", "latency_us", "name", "ops",
		"pattern", "rate", "round", "seconds", "servers", "size", "url",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	unknown := map[string]any{"client": nil, "server": nil}
	if diff := cmp.Diff(unknown, got["cpu_us_per_op"]); diff != "" || got["broker_cpu_us_per_op"] != 1.5 {
		t.Errorf("costs: %s", data)
	}
}
