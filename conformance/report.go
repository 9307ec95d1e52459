package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Schema is the version of the report's JSON form. It changes when a field
// changes its meaning, not when one is added.
const Schema = 1

// Outcome is what a case showed.
type Outcome string

// The outcomes.
const (
	Pass  Outcome = "pass"
	Fail  Outcome = "fail"
	Skip  Outcome = "skip"  // nothing was shown; Reason says why
	XFail Outcome = "xfail" // it failed, as Harness.Known says
	XPass Outcome = "xpass" // it passed, although Harness.Known says that it fails
)

// Report is what a run of the suite showed.
type Report struct {
	Schema       int                    `json:"schema"`
	Driver       string                 `json:"driver"`
	Broker       string                 `json:"broker"`
	Seed         uint64                 `json:"seed"`
	Capabilities messaging.Capabilities `json:"capabilities"` // as declared
	Proven       []string               `json:"proven"`       // capabilities whose cases all passed
	Cases        []Result               `json:"cases"`        // in the order in which they ran
}

// Result is what one case showed.
type Result struct {
	ID         string   `json:"id"`
	Group      string   `json:"group"`
	Level      Level    `json:"level"`
	Capability string   `json:"capability,omitempty"`
	Rule       string   `json:"rule"`
	Outcome    Outcome  `json:"outcome"`
	DurationMS int64    `json:"duration_ms"`
	Reason     string   `json:"reason,omitempty"` // of every outcome but pass
	Link       string   `json:"link,omitempty"`   // of a known failure
	Evidence   []string `json:"evidence,omitempty"`
	Ledger     Counts   `json:"ledger"`
	Tail       []string `json:"tail,omitempty"`   // of a failure: the ledger's last lines
	Stacks     []string `json:"stacks,omitempty"` // of a case that hung: all goroutines
}

// result sums the trial up. What ended the whole run while it was under way, if
// anything did, is the cause of whatever failed.
func (t *trial) result(took time.Duration, ended error) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Result{
		ID: t.c.ID, Group: t.c.Group, Level: t.c.Level, Capability: t.c.Cap, Rule: t.c.Why,
		Outcome: Pass, DurationMS: took.Milliseconds(), Evidence: slices.Clone(t.evidence), Ledger: t.ledger.counts(),
	}
	x, expected := t.h.exception(t.c.ID)
	switch {
	case len(t.failures) > 0 && ended != nil:
		r.Outcome, r.Reason = Skip, "the run ended: "+ended.Error()
	case len(t.failures) > 0:
		r.Outcome, r.Reason = Fail, strings.Join(t.failures, "; ")
		r.Tail = t.ledger.lastLines()
		if expected {
			r.Outcome, r.Reason, r.Link = XFail, x.Reason+" (seen: "+r.Reason+")", x.Link
		}
	case t.skipped != "":
		r.Outcome, r.Reason = Skip, t.skipped
	case expected && !x.Flaky:
		r.Outcome, r.Reason, r.Link = XPass, "expected to fail: "+x.Reason, x.Link
	}
	return r
}

// describe returns the result for people: a line, and on failure all there is.
func (r Result) describe(seed uint64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-5s %-5s %s (%d ms)", r.Outcome, r.Level, r.ID, r.DurationMS)
	if r.Reason != "" && r.Outcome != Fail {
		fmt.Fprintf(&b, ": %s", r.Reason)
	}
	b.WriteByte('\n')
	for _, e := range r.Evidence {
		fmt.Fprintf(&b, "      %s\n", e)
	}
	if r.Outcome != Fail {
		return b.String()
	}
	fmt.Fprintf(&b, "      why it matters: %s\n      seen: %s\n      ledger: %+v\n      seed: %d\n", r.Rule, r.Reason, r.Ledger, seed)
	for _, line := range r.Tail {
		fmt.Fprintf(&b, "      | %s\n", line)
	}
	for _, stack := range r.Stacks {
		fmt.Fprintf(&b, "\n%s\n", stack)
	}
	return b.String()
}

// add appends a result and works out anew what is proven.
func (r *Report) add(res Result) {
	r.Cases = append(r.Cases, res)
	r.Proven = []string{}
	for name, on := range capabilityMap(r.Capabilities) {
		if on && r.proves(name) {
			r.Proven = append(r.Proven, name)
		}
	}
	slices.Sort(r.Proven)
}

// Verdicts says of each capability, by its JSON name, whether it is "proven",
// only "declared", or "no".
func (r *Report) Verdicts() map[string]string {
	verdicts := map[string]string{}
	for name, on := range capabilityMap(r.Capabilities) {
		switch {
		case !on:
			verdicts[name] = "no"
		case slices.Contains(r.Proven, name):
			verdicts[name] = "proven"
		default:
			verdicts[name] = "declared"
		}
	}
	return verdicts
}

// proves reports whether there were cases of the capability, and all passed.
func (r *Report) proves(capability string) bool {
	proven := false
	for _, c := range r.Cases {
		if c.Capability == capability {
			if c.Outcome != Pass && c.Outcome != XPass {
				return false
			}
			proven = true
		}
	}
	return proven
}

// Failed returns the results that failed, and were not known to.
func (r *Report) Failed() []Result { return r.with(Fail) }

// with returns the results of one outcome.
func (r *Report) with(o Outcome) []Result {
	return slices.DeleteFunc(slices.Clone(r.Cases), func(c Result) bool { return c.Outcome != o })
}

// Result returns the result of a case, and whether it was run.
func (r *Report) Result(id string) (Result, bool) {
	i := slices.IndexFunc(r.Cases, func(c Result) bool { return c.ID == id })
	if i < 0 {
		return Result{}, false
	}
	return r.Cases[i], true
}

// Summary returns passed and all cases of each level, such as
// "must 60/60 · cap 12/14 · 2 skipped". What was skipped is not counted in a level.
func (r *Report) Summary() string {
	var parts []string
	for _, l := range Levels() {
		passed, all := 0, 0
		for _, c := range r.Cases {
			if c.Level != l || c.Outcome == Skip {
				continue
			}
			all++
			if c.Outcome == Pass || c.Outcome == XPass {
				passed++
			}
		}
		if all > 0 {
			parts = append(parts, fmt.Sprintf("%s %d/%d", l, passed, all))
		}
	}
	for _, o := range []Outcome{Skip, XFail, XPass} {
		if n := len(r.with(o)); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, map[Outcome]string{
				Skip: "skipped", XFail: "known to fail", XPass: "known to fail, yet passed",
			}[o]))
		}
	}
	return strings.Join(parts, " · ")
}

// WriteJSON writes the report.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// ReadReport reads what WriteJSON wrote.
func ReadReport(rd io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(rd).Decode(&r); err != nil {
		return nil, fmt.Errorf("reading a report: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("reading a report: it has schema %d, and this program knows %d", r.Schema, Schema)
	}
	return &r, nil
}
