package semantics_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/internal/semantics"
)

func TestFill(t *testing.T) {
	t.Parallel()
	const document = `text

| capability | what it means | one | two |
|---|---|---|---|
| ` + "`ttl`" + ` | messages expire | no | no |
| ` + "`durable`" + ` | it survives | no | proven |

more text
`
	verdicts := map[string]string{"ttl": "proven", "durable": "declared"}
	got, err := semantics.Fill(document, "two", verdicts)
	want := strings.NewReplacer("expire | no | no", "expire | no | proven", "survives | no | proven", "survives | no | declared").Replace(document)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, tt := range map[string]struct {
		text, column string
		verdicts     map[string]string
	}{
		"no table":       {"text", "two", verdicts},
		"no column":      {document, "three", verdicts},
		"a row missing":  {document, "two", map[string]string{"ttl": "no", "durable": "no", "priority": "no"}},
		"a row too many": {document, "two", map[string]string{"ttl": "no"}},
		"a row twice":    {strings.ReplaceAll(document, "`durable`", "`ttl`"), "two", verdicts},
	} {
		if _, err := semantics.Fill(tt.text, tt.column, tt.verdicts); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}
