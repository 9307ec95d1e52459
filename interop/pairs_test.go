package interop_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Topics of the servers of a test: one has a Python server, the other a Go one.
const (
	pyTopic = "py"
	goTopic = "go"
	host    = "host1" // their name
)

// pair is a client and a server that the same tests run on. Python with Python
// is among them: it proves that what a test expects is oslo.messaging's.
type pair struct {
	name  string
	topic string
	client
}

// startPairs starts a server and a client in each language, on a virtual host
// of their own.
func startPairs(t *testing.T) []pair {
	t.Helper()
	return startPairsOn(t, vhost(t))
}

func startPairsOn(t *testing.T, url string) []pair {
	t.Helper()
	p := sharedPeer(t)
	p.serve(t, url, pyTopic, host, true)
	startService(t, url, goTopic, host)
	py, golang := pyClient{p, url}, goClient{open(t, url)}
	return []pair{
		{"python to python", pyTopic, py},
		{"python to go", goTopic, py},
		{"go to python", pyTopic, golang},
		{"go to go", goTopic, golang},
	}
}

// diff compares what a client saw with what is wanted, results as JSON values.
// An empty message matches any.
func diff(t *testing.T, want, got outcome) string {
	t.Helper()
	if want.message == "" {
		got.message = ""
	}
	return cmp.Diff(
		[]any{want.kind, decode(t, want.result), want.class, want.message},
		[]any{got.kind, decode(t, got.result), got.class, got.message})
}

// decode returns the value of a JSON text, with every digit of its numbers.
func decode(t *testing.T, text string) any {
	t.Helper()
	if text == "" {
		return nil
	}
	var j rpc.JSON
	var v any
	if err := j.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	return v
}
