package bench

import (
	"runtime"
	"time"
)

// usage is what a process has used since it began.
type usage struct {
	CPU     time.Duration `json:"cpu"`     // user and system; negative: unknown
	Mallocs uint64        `json:"mallocs"` // heap objects
}

// used returns what this process has used. It stops the world for a moment.
func used() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{CPU: processCPU(), Mallocs: m.Mallocs}
}

// perOp returns what an operation cost between before and u: CPU in
// microseconds and heap objects. What is unknown is nil.
func (u usage) perOp(before usage, ops int64) (cpu, allocs *float64) {
	if ops == 0 {
		return nil, nil
	}
	if u.CPU >= 0 && before.CPU >= 0 {
		cpu = new(micros(u.CPU-before.CPU) / float64(ops))
	}
	return cpu, new(float64(u.Mallocs-before.Mallocs) / float64(ops))
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
