package bench

import (
	"context"
	"encoding/json"
	"fmt"
)

// Entry is one system in a comparison.
type Entry struct {
	Name   string // in the report
	System string // of the Runner's
	Spec   Spec
}

// Record is one run in a comparison. As JSON it is the Sample's object with
// "name", "round" and "broker_cpu_us_per_op" in it.
type Record struct {
	Name  string
	Round int // from 1
	Sample
}

// MarshalJSON implements json.Marshaler.
func (r Record) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name  string `json:"name"`
		Round int    `json:"round"`
		Sample
		BrokerCPU *float64 `json:"broker_cpu_us_per_op"`
	}{r.Name, r.Round, r.Sample, r.BrokerCPU})
}

// Compare measures all entries once in each round, one after the other. It
// tells each what it measured, as it goes, when that is not nil. The first
// error ends it.
func (r *Runner) Compare(ctx context.Context, entries []Entry, rounds int, each func(Record)) ([]Record, error) {
	var records []Record
	for round := 1; round <= rounds; round++ {
		for _, e := range entries {
			s, err := r.Measure(ctx, e.System, e.Spec)
			if err != nil {
				return records, fmt.Errorf("measuring %s, round %d: %w", e.Name, round, err)
			}
			rec := Record{Name: e.Name, Round: round, Sample: *s}
			records = append(records, rec)
			if each != nil {
				each(rec)
			}
		}
	}
	return records, nil
}
