package bench

import (
	"errors"
	"os"
	"strconv"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name string
		give string
		want time.Duration // negative: an error
	}{
		{"usual", "7 (beam.smp) S 1 7 7 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 9", 1270 * time.Millisecond},
		{"odd name", "7 (a) b ( c) S 1 7 7 0 -1 4194304 1 2 3 4 1 1 1 1 20 0 9", 40 * time.Millisecond},
		{"short", "7 (beam.smp) S 1 7 7 0", -1},
		{"no number", "7 (beam.smp) S 1 7 7 0 -1 4194304 1 2 3 4 100 x 3 4 20", -1},
		{"empty", "", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.give)
			if tt.want < 0 {
				if !errors.Is(err, ErrNoBroker) {
					t.Errorf("%v, %v", got, err)
				}
			} else if got != tt.want || err != nil {
				t.Errorf("%v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestTreeCPU(t *testing.T) {
	for _, pid := range []string{"", "0", "-1", "../1", "4294967295"} {
		if _, err := TreeCPU(pid); !errors.Is(err, ErrNoBroker) {
			t.Errorf("process %q: %v", pid, err)
		}
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return // not Linux: the errors are all there is
	}
	if _, err := TreeCPU(strconv.Itoa(os.Getpid())); err != nil {
		t.Error(err)
	}
}
