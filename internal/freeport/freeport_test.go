package freeport_test

import (
	"net"
	"testing"

	"github.com/patchbay-go/patchbay/internal/freeport"
)

func TestReservedPortsAreDistinctAndFree(t *testing.T) {
	seen := make(map[string]bool)
	for range 20 {
		all, release, err := freeport.Reserve(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		if len(all) != 5 {
			t.Fatalf("%d addresses, want 5", len(all))
		}
		for _, a := range all {
			if seen[a] {
				t.Errorf("%s was given out twice", a)
			}
			seen[a] = true
			l, err := net.Listen("tcp", a)
			if err != nil {
				t.Error(err)
				continue
			}
			t.Cleanup(func() { l.Close() })
		}
	}
	if _, _, err := freeport.Reserve(t.Context(), 1000); err == nil {
		t.Error("a thousand ports were found in one block")
	}
}
