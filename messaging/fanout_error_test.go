package messaging_test

import (
	"errors"
	"io"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestFanoutErrorHasOneOutcome: what some have is not sent again, whatever became
// of the others.
func TestFanoutErrorHasOneOutcome(t *testing.T) {
	failed := func(outcomes ...error) (all []*messaging.MemberError) {
		for _, o := range outcomes {
			all = append(all, &messaging.MemberError{Member: "m", Outcome: o, Err: io.ErrClosedPipe})
		}
		return all
	}
	for name, tt := range map[string]struct {
		members int
		failed  []*messaging.MemberError
		want    error
	}{
		"one of two was not sent":     {2, failed(messaging.ErrNotSent), messaging.ErrOutcomeUnknown},
		"none was sent":               {2, failed(messaging.ErrNotSent, messaging.ErrNotSent), messaging.ErrNotSent},
		"one unknown, one not sent":   {2, failed(messaging.ErrOutcomeUnknown, messaging.ErrNotSent), messaging.ErrOutcomeUnknown},
		"the only one was refused":    {1, failed(messaging.ErrRejected), messaging.ErrOutcomeUnknown},
		"all unknown":                 {2, failed(messaging.ErrOutcomeUnknown, messaging.ErrOutcomeUnknown), messaging.ErrOutcomeUnknown},
		"many, of which few are told": {9, failed(messaging.ErrNotSent, messaging.ErrNotSent, messaging.ErrNotSent, messaging.ErrNotSent), messaging.ErrOutcomeUnknown},
	} {
		var err error = &messaging.FanoutError{Members: tt.members, Failed: tt.failed}
		for _, outcome := range []error{messaging.ErrNotSent, messaging.ErrRejected, messaging.ErrNoRoute, messaging.ErrOutcomeUnknown} {
			if got := errors.Is(err, outcome); got != errors.Is(outcome, tt.want) {
				t.Errorf("%s: %q matches %q: %v", name, err, outcome, got)
			}
		}
		var m *messaging.MemberError
		if !errors.As(err, &m) || m.Member != "m" || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %q has neither its member nor its reason", name, err)
		}
	}
}
