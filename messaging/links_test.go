package messaging_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

// TestLinksAreCounted: what a driver without a broker tells of its links is in the
// numbers and in the trace, as connections are.
func TestLinksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var links Links
		s := &script{single: true, caps: allCaps, dial: func(_ int, ep Endpoint) error {
			links = ep.Links
			return nil
		}}
		var dialled, lost []string
		tr := s.open(t, "script://a:1", &Options{Trace: &Trace{
			Dialed:   func(host string, _ int, _ time.Duration, _ error) { dialled = append(dialled, host) },
			ConnLost: func(host string, _ error) { lost = append(lost, host) },
		}})
		if err := tr.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := tr.Stats()
		broken := errors.New("broken")
		links.Dialed("a", 1, time.Second, nil)
		links.Dialed("b", 1, time.Second, broken)
		links.Up()
		links.Up()
		links.Down("a", nil)
		links.Down("b", broken)
		links.Up()
		now := tr.Stats()
		if got := now.Dials - before.Dials; got != 2 {
			t.Errorf("%d dials, want 2", got)
		}
		if got := now.DialFailures - before.DialFailures; got != 1 {
			t.Errorf("%d failures, want 1", got)
		}
		if got := now.Links - before.Links; got != 1 {
			t.Errorf("%d more connections, want 1", got)
		}
		if got := now.ConnsLost - before.ConnsLost; got != 1 {
			t.Errorf("%d lost, want 1: the other was closed in good order", got)
		}
		if len(dialled) != 3 || len(lost) != 1 || lost[0] != "b" {
			t.Errorf("the trace was told of dials to %v and losses of %v", dialled, lost)
		}
	})
}
