package conformance_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/messaging"
)

// mutant is a driver with one defect.
type mutant struct {
	name   string
	defect string       // what it does
	kills  []string     // exactly the cases that must notice
	hooks  func() hooks // new for each run
}

// TestMutants runs the suite on every broken driver: exactly the cases that are
// meant for a defect must notice it. That no other does is proven without the
// race detector: make mutants.
func TestMutants(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	killed := map[string]bool{}
	t.Run("all", func(t *testing.T) {
		for _, m := range mutants() {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				var report *conformance.Report
				synctest.Test(t, func(t *testing.T) { report = m.run(t) })
				var kills []string
				for _, c := range report.Cases {
					if c.Outcome != conformance.Pass && c.Group != "hostile peer" { // which the fake has no network for: see TestHostileMutants
						kills = append(kills, c.ID)
					}
				}
				slices.Sort(kills)
				want := slices.Sorted(slices.Values(m.kills))
				if diff := cmp.Diff(want, kills); diff != "" {
					t.Errorf("a driver that %s must fail other cases (-want +failed):\n%s", m.defect, diff)
					for _, c := range report.Cases {
						if c.Outcome != conformance.Pass && c.Group != "hostile peer" {
							t.Logf("%s %s: %.300s", c.Outcome, c.ID, c.Reason)
						}
					}
				}
				mu.Lock()
				defer mu.Unlock()
				for _, id := range kills {
					killed[id] = true
				}
			})
		}
	})
	var alive []string
	for _, c := range conformance.List() {
		if !killed[c.ID] {
			alive = append(alive, c.ID)
		}
	}
	t.Logf("%d of %d cases have killed a mutant; not yet: %s",
		len(killed), len(conformance.List()), strings.Join(alive, ", "))
}

// run runs the suite on the mutant and then lets what it blocks go.
func (m mutant) run(t *testing.T) *conformance.Report {
	w := newWorld(m.hooks())
	defer close(w.end)
	h := fakeHarness(256<<10, func(d messaging.Driver, u *messaging.URL) messaging.Driver {
		if w.open != nil {
			w.open(u)
		}
		return &driver{Driver: d, w: w}
	})
	o := conformance.Options{Seed: 1, Volume: 0.02}
	if raceEnabled { // which makes it ten times slower: there, only what the mutant is meant for
		o.Run = "^(" + strings.Join(m.kills, "|") + ")$"
	}
	report, err := conformance.Check(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestMutantNames keeps the table in order.
func TestMutantNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	ids := map[string]bool{}
	for _, c := range conformance.List() {
		ids[c.ID] = true
	}
	for _, m := range mutants() {
		if seen[m.name] || m.defect == "" || len(m.kills) == 0 {
			t.Errorf("mutant %q is there twice, or has no defect, or is meant for no case", m.name)
		}
		seen[m.name] = true
		for _, id := range m.kills {
			if !ids[id] {
				t.Errorf("mutant %q is meant for %q, which is no case", m.name, id)
			}
		}
	}
}
