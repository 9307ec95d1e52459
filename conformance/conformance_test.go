package conformance_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/internal/semantics"
)

// TestFakeTwiceTheSame runs everything in virtual time, twice with one seed.
func TestFakeTwiceTheSame(t *testing.T) {
	t.Parallel()
	var reports [2]*conformance.Report
	for i := range reports {
		synctest.Test(t, func(t *testing.T) {
			r, err := conformance.Check(t.Context(), fakeHarness(0, nil), conformance.Options{Seed: 7, Log: t.Output()})
			if err != nil {
				t.Fatal(err)
			}
			// How many sends there are before the transport is closed, or a
			// connection cut, is chance.
			for n := range r.Cases {
				if id := r.Cases[n].ID; id == "close_while_publishing" || id == "cut_during_publish" {
					r.Cases[n].Ledger = conformance.Counts{}
				}
			}
			reports[i] = r
		})
	}
	semantics.Check(t, "../docs/semantics.md", "fake", reports[0])
	for _, c := range reports[0].Cases {
		if c.Outcome != conformance.Pass && c.Group != "hostile peer" { // which the fake has no network for
			t.Errorf("%s is %s on the fake: %s", c.ID, c.Outcome, c.Reason)
		}
	}
	for _, name := range []string{documentation, "../docs/cli.md"} {
		text, err := os.ReadFile(name)
		if want := "`" + reports[0].Summary(); err != nil || !strings.Contains(strings.ReplaceAll(string(text), `{"summary":"`, ""), want) {
			t.Errorf("%s does not show the sum of the fake, %s (%v)", name, want, err)
		}
	}
	// What goroutines do at the same moment is not ordered, so evidence and
	// durations may differ.
	ignore := cmpopts.IgnoreFields(conformance.Result{}, "DurationMS", "Evidence", "Tail", "Stacks")
	if diff := cmp.Diff(reports[0], reports[1], ignore); diff != "" {
		t.Errorf("two runs with one seed differ (-first +second):\n%s", diff)
	}
}

// TestFakeRealTime runs the suite as a driver's author does, with the clock on
// the wall. It is not parallel: what other tests start would look like leaks.
func TestFakeRealTime(t *testing.T) {
	conformance.RunWith(t, fakeHarness(256<<10, nil), conformance.Options{Volume: 0.05})
}
