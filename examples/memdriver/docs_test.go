package memdriver_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/examples/memdriver"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestDocumentation keeps the result that the guide shows true. A driver's author
// has no need of it.
func TestDocumentation(t *testing.T) {
	const guide = "../../docs/driver-guide.md"
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		harness := conformance.FromURL(messaging.Registry{"mem": memdriver.NewHub().Open}, "mem://", nil)
		report, err := conformance.Check(t.Context(), harness, conformance.Options{Volume: 0.1})
		if err != nil {
			t.Fatal(err)
		}
		if sum := report.Summary(); !strings.Contains(string(text), "\t"+sum+"\n") {
			t.Errorf("%s does not show %q", guide, sum)
		}
	})
}
