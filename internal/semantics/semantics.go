// Package semantics keeps the table of guarantees in docs/semantics.md equal to
// what the conformance suite proves: each column is checked by the test that runs
// the suite on what the column is about.
package semantics

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/conformance"
)

// Document is the file, as seen from a package two levels below the root.
const Document = "../../docs/semantics.md"

const heading = "| capability | what it means |"

// Check compares the column of that name with a report. With UPDATE in the
// environment it writes the column instead. file is where the document is.
func Check(tb testing.TB, file, column string, r *conformance.Report) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	got, err := Fill(string(text), column, r.Verdicts())
	switch {
	case err != nil:
		tb.Errorf("%s: %v", file, err)
	case got == string(text):
	case os.Getenv("UPDATE") == "":
		tb.Errorf("column %q of %s is not what the suite shows: run this test with UPDATE=1", column, file)
	default:
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil { //nolint:gosec // documentation is for all to read
			tb.Error(err)
		}
	}
}

// Fill returns the document with a column's cells replaced.
func Fill(text, column string, verdicts map[string]string) (string, error) {
	before, table, found := strings.Cut(text, heading)
	if !found {
		return "", fmt.Errorf("there is no table %q", heading)
	}
	table, after, _ := strings.Cut(heading+table, "\n\n")
	lines := strings.Split(table, "\n")
	at := slices.IndexFunc(cells(lines[0]), func(c string) bool { return c == column })
	if at < 0 {
		return "", fmt.Errorf("there is no column %q", column)
	}
	left := maps.Clone(verdicts)
	for i, line := range lines[min(2, len(lines)):] {
		row := cells(line)
		name := strings.Trim(row[0], "`")
		verdict, known := left[name]
		if !known || at >= len(row) {
			return "", fmt.Errorf("row %q is of no capability, is there twice, or is too short", line)
		}
		delete(left, name)
		row[at] = verdict
		lines[i+2] = "| " + strings.Join(row, " | ") + " |"
	}
	if len(left) > 0 {
		return "", fmt.Errorf("there is no row for %v", slices.Sorted(maps.Keys(left)))
	}
	return before + strings.Join(lines, "\n") + "\n\n" + after, nil
}

// cells splits a row of a table.
func cells(line string) []string {
	cells := strings.Split(strings.Trim(line, "| "), " | ")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}
