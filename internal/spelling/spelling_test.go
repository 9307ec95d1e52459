package spelling_test

import (
	"testing"

	"github.com/patchbay-go/patchbay/internal/spelling"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"topic", "topic", 0},
		{"tpic", "topic", 1},
		{"topci", "topic", 2},
		{"", "url", 3},
		{"server", "serve", 1},
		{"abc", "xyz", 3},
		{"transport_ulr", "transport_url", 2},
	}
	for _, tt := range tests {
		if got := spelling.Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := spelling.Distance(tt.b, tt.a); got != tt.want {
			t.Errorf("%q to %q: got %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
