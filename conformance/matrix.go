package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteMatrix writes a Markdown table of several reports: a row for each case,
// a column for each report, and the sums on top.
func WriteMatrix(w io.Writer, reports ...*Report) error {
	var b strings.Builder
	b.WriteString("| case | level |")
	for _, r := range reports {
		fmt.Fprintf(&b, " %s |", cell(strings.TrimSpace(r.Driver+" "+r.Broker)))
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(reports)) + "\n| **all** | |")
	for _, r := range reports {
		fmt.Fprintf(&b, " %s |", cell(r.Summary()))
	}
	b.WriteByte('\n')
	for _, row := range rows(reports) {
		level := string(row.Level)
		if row.Capability != "" {
			level += " " + row.Capability
		}
		fmt.Fprintf(&b, "| %s | %s |", row.ID, level)
		for _, r := range reports {
			fmt.Fprintf(&b, " %s |", cell(verdict(r, row.ID)))
		}
		b.WriteByte('\n')
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the matrix: %w", err)
	}
	return nil
}

// rows returns one result for each case of any report, in the order of the
// suite; cases that it does not know any more come last.
func rows(reports []*Report) []Result {
	position := map[string]int{}
	for i, c := range List() {
		position[c.ID] = i - len(List())
	}
	var all []Result
	seen := map[string]bool{}
	for _, r := range reports {
		for _, c := range r.Cases {
			if !seen[c.ID] {
				seen[c.ID] = true
				all = append(all, c)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Result) int { return position[a.ID] - position[b.ID] })
	return all
}

func verdict(r *Report, id string) string {
	c, ok := r.Result(id)
	if !ok {
		return "–"
	}
	if c.Outcome == Pass || c.Outcome == Fail {
		return string(c.Outcome)
	}
	return fmt.Sprintf("%s: %s", c.Outcome, c.Reason)
}

// cell makes text safe inside a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}

// Change is a case whose outcome differs between two reports, or a capability
// that is proven in one of them only.
type Change struct {
	What       string // a case's id, or "capability durable"
	Old, New   string // outcomes; "absent" if there is none
	Regression bool
}

// String returns the change as a line.
func (c Change) String() string {
	s := fmt.Sprintf("%s: %s → %s", c.What, c.Old, c.New)
	if c.Regression {
		s += " (regression)"
	}
	return s
}

// Diff compares two reports. A regression is a case that passed, or failed as
// known, and now fails or is not run any more, one that passed and is now
// skipped, and a capability that was proven and is not now. A new case that
// fails is no regression.
func Diff(before, after *Report) []Change {
	var changes []Change
	for _, row := range rows([]*Report{before, after}) {
		was, is := outcomeIn(before, row.ID), outcomeIn(after, row.ID)
		if was != is {
			changes = append(changes, Change{
				What: row.ID, Old: was, New: is,
				Regression: good(was) && !good(is) || was == string(XFail) && (is == string(Fail) || is == absent),
			})
		}
	}
	for _, name := range before.Proven {
		if !slices.Contains(after.Proven, name) {
			changes = append(changes, Change{What: "capability " + name, Old: "proven", New: "not proven", Regression: true})
		}
	}
	for _, name := range after.Proven {
		if !slices.Contains(before.Proven, name) {
			changes = append(changes, Change{What: "capability " + name, Old: "not proven", New: "proven"})
		}
	}
	return changes
}

const absent = "absent"

func outcomeIn(r *Report, id string) string {
	if c, ok := r.Result(id); ok {
		return string(c.Outcome)
	}
	return absent
}

func good(outcome string) bool { return outcome == string(Pass) || outcome == string(XPass) }
