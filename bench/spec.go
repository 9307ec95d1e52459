package bench

import (
	"fmt"
	"slices"
	"time"
)

// Pattern is what one operation is.
type Pattern string

// The patterns. A call ends with its reply; a cast and a fanout end when the
// broker has accepted them, and a run of them when all were handled.
const (
	Call   Pattern = "call"
	Cast   Pattern = "cast"
	Fanout Pattern = "fanout"
)

// Patterns returns all patterns.
func Patterns() []Pattern { return []Pattern{Call, Cast, Fanout} }

// DefaultTopic is where clients and servers meet.
const DefaultTopic = "patchbay-bench"

// Spec says what to measure. Its zero fields have defaults but for the URL.
type Spec struct {
	URL      string        `json:"url"`      // for the systems that need one
	Pattern  Pattern       `json:"pattern"`  // default: Call
	InFlight int           `json:"inflight"` // operations under way at a time; default: 64
	Size     int           `json:"size"`     // bytes of a request's text, which a call's reply repeats; default: 100
	Servers  int           `json:"servers"`  // each with connections of its own; default: 1
	Duration time.Duration `json:"duration"` // of the measured part; default: 5 s

	// Blocking has a server handle requests one by one, where it receives them, as a
	// plain program does. Only Patchbay heeds it.
	Blocking bool `json:"blocking,omitempty"`

	// Profile begins the names of files for profiles of CPU and allocations:
	// FILE-client-cpu.pprof and three others. Default: none are written.
	Profile string `json:"profile,omitempty"`

	// Topic is where client and servers meet. Its queues may outlive the run,
	// so it is the same for all of them, and no two must run at a time on one
	// broker. Default: DefaultTopic.
	Topic string `json:"topic"`
}

// withDefaults returns s complete, or what is wrong with it.
func (s Spec) withDefaults() (Spec, error) {
	def(&s.Pattern, Call)
	def(&s.InFlight, 64)
	def(&s.Size, 100)
	def(&s.Servers, 1)
	def(&s.Duration, 5*time.Second)
	def(&s.Topic, DefaultTopic)
	switch {
	case !slices.Contains(Patterns(), s.Pattern):
		return s, fmt.Errorf("%w: pattern %q, want %v", ErrSpec, s.Pattern, Patterns())
	case s.InFlight < 0 || s.Size < 0 || s.Servers < 0 || s.Duration < 0:
		return s, fmt.Errorf("%w: in flight %d, size %d, servers %d, duration %v: none can be negative",
			ErrSpec, s.InFlight, s.Size, s.Servers, s.Duration)
	}
	return s, nil
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// copies returns how often one operation is handled.
func (s *Spec) copies() int64 {
	if s.Pattern == Fanout {
		return int64(s.Servers)
	}
	return 1
}

// workers returns how many requests one server should be able to handle at
// once, so that it is not what limits the operations in flight.
func (s *Spec) workers() int { return (s.InFlight + s.Servers - 1) / s.Servers }

// String names the case in the words of a report.
func (s Spec) String() string {
	text := fmt.Sprintf("%s, %d in flight, %d B", s.Pattern, s.InFlight, s.Size)
	if s.Servers > 1 {
		text += fmt.Sprintf(", %d servers", s.Servers)
	}
	return text
}
