package conformance_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/conformance"
)

const documentation = "../docs/conformance.md"

// TestDocumentation compares the table of cases in the documentation with the
// suite. UPDATE=1 writes it anew.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	const heading = "\n## Cases\n"
	before, after, found := strings.Cut(string(text), heading)
	if !found {
		t.Fatalf("%s has no heading %q", documentation, heading)
	}
	want := table()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(documentation, []byte(before+heading+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if after != want {
		t.Errorf("the cases in %s are not those of the suite: run UPDATE=1 go test -run Documentation ./conformance", documentation)
	}
}

func table() string {
	var b strings.Builder
	group := ""
	for _, c := range conformance.List() {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&b, "\n### %s\n\n| case | level | why |\n|---|---|---|\n", strings.ToUpper(group[:1])+group[1:])
		}
		level := string(c.Level)
		if c.Cap != "" {
			level += " " + c.Cap
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.ID, level, c.Why)
	}
	return b.String()
}

// TestCases checks what reports rely on: ids are unique and every case says why.
func TestCases(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range conformance.List() {
		if seen[c.ID] {
			t.Errorf("there are two cases %s", c.ID)
		}
		seen[c.ID] = true
		if !strings.HasSuffix(c.Why, ".") || len(c.Why) < 20 || c.Group == "" {
			t.Errorf("%s of group %q says why in no sentence: %q", c.ID, c.Group, c.Why)
		}
		if (c.Level == conformance.LevelCapability) != (c.Cap != "") {
			t.Errorf("%s has level %s and capability %q", c.ID, c.Level, c.Cap)
		}
	}
}
