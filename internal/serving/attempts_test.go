package serving

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

func uncounted(id string) *messaging.Incoming {
	return &messaging.Incoming{Envelope: messaging.Envelope{ID: id}, Count: -1}
}

func TestAttemptsOfAbsurdIDsAreNotRemembered(t *testing.T) {
	var a attempts
	for _, id := range []string{"", strings.Repeat("x", maxAttemptID+1)} {
		in := uncounted(id)
		a.add(in)
		if n := a.add(in); n != 1 {
			t.Errorf("an id of %d bytes has %d attempts", len(id), n)
		}
		a.forget(in)
	}
	if len(a.count) > 0 || len(a.order) > 0 {
		t.Errorf("%d are remembered, in the order %d", len(a.count), len(a.order))
	}
	in := uncounted(strings.Repeat("x", maxAttemptID))
	a.add(in)
	if n := a.add(in); n != 2 {
		t.Errorf("the second attempt of the longest id is number %d", n)
	}
}

// An id that was forgotten and is used again is the newest, not the oldest.
func TestAttemptsForgetWholly(t *testing.T) {
	var a attempts
	others := 0
	fill := func(n int) {
		for range n {
			others++
			a.add(uncounted(fmt.Sprint("other", others)))
		}
	}
	in := uncounted("mine")
	a.add(in)
	a.forget(in)
	a.add(in)
	fill(maxAttempts - 1)
	if n := a.add(in); n != 2 {
		t.Errorf("with %d others the second attempt is number %d", others, n)
	}
	fill(1)
	if n := a.add(in); n != 1 {
		t.Errorf("with %d others it is remembered: attempt %d", others, n)
	}
	if len(a.count) != maxAttempts || len(a.order) != maxAttempts {
		t.Errorf("%d are remembered, in an order of %d", len(a.count), len(a.order))
	}
}
