package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Stat is one figure of an entry over all rounds.
type Stat struct {
	Median float64
	Ratio  float64 // median of the rounds' ratios to the anchor in the same round; 0: unknown
	Known  bool
}

// Row is the summary of one entry.
type Row struct {
	Name         string
	CPU          Stat // client and server together
	ClientCPU    Stat
	ServerCPU    Stat
	BrokerCPU    Stat
	Rate         Stat
	ClientAllocs Stat
	ServerAllocs Stat
	P50, P99     Stat
	Errors       int64
}

// Summarize makes a row of each entry, in their order. The first entry is the
// anchor of the ratios. A figure counts when it is known in every round.
func Summarize(records []Record) []Row {
	var names []string
	runs := make(map[string][]Record)
	for _, r := range records {
		if runs[r.Name] == nil {
			names = append(names, r.Name)
		}
		runs[r.Name] = append(runs[r.Name], r)
	}
	rows := make([]Row, len(names))
	for i, name := range names {
		mine, anchor := runs[name], runs[names[0]]
		figure := func(f func(*Sample) *float64) Stat { return stat(mine, anchor, f) }
		rows[i] = Row{
			Name:         name,
			CPU:          figure(goCPU),
			ClientCPU:    figure(func(s *Sample) *float64 { return s.CPU.Client }),
			ServerCPU:    figure(func(s *Sample) *float64 { return s.CPU.Server }),
			BrokerCPU:    figure(func(s *Sample) *float64 { return s.BrokerCPU }),
			Rate:         figure(func(s *Sample) *float64 { return &s.Rate }),
			ClientAllocs: figure(func(s *Sample) *float64 { return s.Allocs.Client }),
			ServerAllocs: figure(func(s *Sample) *float64 { return s.Allocs.Server }),
			P50:          figure(func(s *Sample) *float64 { return &s.Latency.P50 }),
			P99:          figure(func(s *Sample) *float64 { return &s.Latency.P99 }),
		}
		for _, r := range mine {
			rows[i].Errors += r.Errors
		}
	}
	return rows
}

// goCPU is the CPU time of client and server, or of the one process.
func goCPU(s *Sample) *float64 {
	if s.CPU.Client == nil || s.CPU.Server == nil {
		return s.CPU.Client
	}
	return new(*s.CPU.Client + *s.CPU.Server)
}

// stat is one figure of runs, beside those of the anchor.
func stat(runs, anchor []Record, f func(*Sample) *float64) Stat {
	var values, ratios []float64
	for i := range runs {
		v := f(&runs[i].Sample)
		if v == nil {
			return Stat{}
		}
		values = append(values, *v)
		if i < len(anchor) {
			if a := f(&anchor[i].Sample); a != nil && *a > 0 {
				ratios = append(ratios, *v / *a)
			}
		}
	}
	return Stat{Median: median(values), Ratio: median(ratios), Known: len(values) > 0}
}

// median returns the middle one, or the mean of the two in the middle; 0 of none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// WriteTable writes rows as a table in Markdown. CPU is in microseconds for
// each operation; what is unknown is a dash.
func WriteTable(w io.Writer, title string, rows []Row) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | Go CPU µs | × | client | server | broker | rate/s | × | allocs client / server | p50 µs | p99 µs |\n", title)
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range rows {
		name := r.Name
		if r.Errors > 0 {
			name += fmt.Sprintf(" (%d errors)", r.Errors)
		}
		cells := []string{
			name, r.CPU.value(), r.CPU.ratio(), r.ClientCPU.value(), r.ServerCPU.value(), r.BrokerCPU.value(),
			r.Rate.value(), r.Rate.ratio(), r.ClientAllocs.value() + " / " + r.ServerAllocs.value(), r.P50.value(), r.P99.value(),
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Stat) value() string {
	switch {
	case !s.Known:
		return "–"
	case s.Median < 20:
		return fmt.Sprintf("%.1f", s.Median)
	}
	return fmt.Sprintf("%.0f", s.Median)
}

func (s Stat) ratio() string {
	if !s.Known || s.Ratio == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", s.Ratio)
}
