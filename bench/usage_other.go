//go:build !unix

package bench

import "time"

// processCPU returns that the CPU time is unknown.
func processCPU() time.Duration { return -1 }
