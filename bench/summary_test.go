package bench_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/bench"
)

func record(name string, round int, rate float64, client, server, broker *float64) bench.Record {
	return bench.Record{Name: name, Round: round, Sample: bench.Sample{
		Rate: rate, CPU: bench.Cost{Client: client, Server: server}, BrokerCPU: broker,
	}}
}

func TestSummarize(t *testing.T) {
	rows := bench.Summarize([]bench.Record{
		record("plain", 1, 100, new(10.0), new(20.0), nil),
		record("ours", 1, 200, new(5.0), new(10.0), new(7.0)),
		record("plain", 2, 10, new(100.0), new(200.0), nil), // a slow round, for both
		record("ours", 2, 20, new(50.0), new(100.0), new(9.0)),
		record("plain", 3, 120, new(10.0), new(20.0), new(1.0)),
		record("ours", 3, 120, new(10.0), new(20.0), new(1.0)),
		record("ours", 4, 60, new(20.0), new(40.0), new(8.0)), // beyond the anchor
	})
	type figures struct{ CPU, Rate, Broker bench.Stat }
	got := map[string]figures{}
	for _, r := range rows {
		got[r.Name] = figures{r.CPU, r.Rate, r.BrokerCPU}
	}
	want := map[string]figures{
		"plain": {
			CPU:  bench.Stat{Median: 30, Ratio: 1, Known: true},
			Rate: bench.Stat{Median: 100, Ratio: 1, Known: true},
		},
		"ours": {
			CPU:    bench.Stat{Median: 45, Ratio: 0.5, Known: true},
			Rate:   bench.Stat{Median: 90, Ratio: 2, Known: true},
			Broker: bench.Stat{Median: 7.5, Ratio: 1, Known: true},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if len(rows) != 2 || rows[0].Name != "plain" {
		t.Errorf("the anchor is not first: %+v", rows)
	}
}

func TestWriteTable(t *testing.T) {
	var b strings.Builder
	err := bench.WriteTable(&b, "call", bench.Summarize([]bench.Record{
		record("plain", 1, 100, new(10.0), nil, nil),
		record("ours", 1, 250, new(4.44), nil, nil),
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := `| call | Go CPU µs | × | client | server | broker | rate/s | × | allocs client / server | p50 µs | p99 µs |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
| plain | 10.0 | 1.00 | 10.0 | – | – | 100 | 1.00 | – / – | 0.0 | 0.0 |
| ours | 4.4 | 0.44 | 4.4 | – | – | 250 | 2.50 | – / – | 0.0 | 0.0 |
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
