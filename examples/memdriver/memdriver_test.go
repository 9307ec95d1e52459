package memdriver_test

import (
	"testing"
	"testing/synctest"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/examples/memdriver"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestConformance runs the suite in virtual time, which a driver without a
// network can; conformance.Run is for the others.
func TestConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := messaging.Registry{"mem": memdriver.NewHub().Open}
		harness := conformance.FromURL(registry, "mem://", nil)
		report, err := conformance.Check(t.Context(), harness, conformance.Options{Volume: 0.1, Log: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range report.Failed() {
			t.Errorf("%s: %s", c.ID, c.Reason)
		}
		t.Log(report.Summary())
	})
}
