package intern

import (
	"fmt"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	var table Table
	b := []byte("application/json")
	first := table.Text(b)
	copy(b, "APPLICATION/JSON")
	if first != "application/json" || table.Text([]byte("application/json")) != first {
		t.Errorf("the text became %q", first)
	}
	if table.Text(nil) != "" {
		t.Error("nothing became something")
	}
	long := strings.Repeat("x", maxLen+1)
	if table.Text([]byte(long)) != long {
		t.Error("a long text is another")
	}
	if n := testing.AllocsPerRun(100, func() { table.Text([]byte("application/json")) }); n != 0 {
		t.Errorf("a text that is known takes %v allocations", n)
	}
	for i := range 10 * maxTexts {
		if s := fmt.Sprint(i); table.Text([]byte(s)) != s {
			t.Errorf("%s became another text", s)
		}
		if len(table.texts) > maxTexts {
			t.Fatalf("it holds %d texts", len(table.texts))
		}
	}
}
