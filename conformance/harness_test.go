package conformance_test

import (
	"log/slog"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/conformance/fakeharness"
	"github.com/patchbay-go/patchbay/messaging"
)

// fakeHarness returns a harness for a fake broker of its own, with a limit of
// maxMessage (0: its default). wrap, if not nil, puts something between the core
// and the driver.
func fakeHarness(maxMessage int64, wrap func(messaging.Driver, *messaging.URL) messaging.Driver) conformance.Harness {
	return fakeharness.New(fakeharness.Options{
		MaxMessage: maxMessage,
		Transport:  &messaging.Options{Logger: slog.New(slog.DiscardHandler)},
		Wrap:       wrap,
	})
}
