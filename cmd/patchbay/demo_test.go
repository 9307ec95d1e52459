package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/all"
)

// TestDemo holds the whole text, but for which server got how many requests.
func TestDemo(t *testing.T) {
	got := patchbay(t, all.Registry(), "demo")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("exit %d, %s", got.code, got.stderr)
	}
	text := regexp.MustCompile(`(?m)^     (alpha|bravo|charlie) .*$`).ReplaceAllString(got.stdout, "     $1 …")
	text = regexp.MustCompile(`over zmq://127\.0\.0\.1:\d+,127\.0\.0\.1:\d+,127\.0\.0\.1:\d+/\n`).ReplaceAllString(text, "over zmq://…\n")
	want, err := os.ReadFile("testdata/demo.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	fanout := got.stdout[strings.Index(got.stdout, "3. Fanout"):]
	for _, line := range []string{"     alpha    #         1\n", "     bravo    #         1\n", "     charlie  #         1\n"} {
		if !strings.Contains(fanout, line) {
			t.Errorf("no line %q in:\n%s", line, fanout)
		}
	}
	for i, line := range strings.Split(got.stdout, "\n") {
		if len(line) > 100 || strings.TrimRight(line, " ") != line {
			t.Errorf("line %d is not pretty: %q", i+1, line)
		}
	}
}

func TestDemoInMemory(t *testing.T) {
	got := patchbay(t, all.Registry(), "demo", "--url", "fake://")
	if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "Patchbay over fake://\n") {
		t.Errorf("exit %d, %s%s", got.code, got.stderr, got.stdout)
	}
}

func TestDemoWithoutABroker(t *testing.T) {
	got := patchbay(t, all.Registry(), "demo", "--url", "carrier-pigeon://")
	if got.code != 2 || got.stdout != "" {
		t.Errorf("exit %d, %s", got.code, got.stdout)
	}
}
