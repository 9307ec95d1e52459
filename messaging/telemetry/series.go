package telemetry

import (
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// series are the measurements with the same attributes but for the result.
// The option of each result is made once: it costs more than the measuring.
type series struct {
	attrs   []attribute.KeyValue
	coded   bool // the result is an rpc.response.status_code too
	options [results]atomic.Pointer[options]
}

// options are the attributes of one measurement, in the forms that the
// instruments want them.
type options struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func (s *series) of(r result) *options {
	if o := s.options[r].Load(); o != nil {
		return o
	}
	attrs := append([]attribute.KeyValue(nil), s.attrs...)
	if s.coded {
		attrs = append(attrs, semconv.RPCResponseStatusCode(r.String()))
	}
	if r != ok {
		attrs = append(attrs, semconv.ErrorTypeKey.String(r.String()))
	}
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	o := &options{add: []metric.AddOption{set}, record: []metric.RecordOption{set}}
	s.options[r].Store(o)
	return o
}

// cacheSize bounds a cache, and with it what peers and programs with names
// without number can make us keep.
const cacheSize = 1024

// cache keeps the first cacheSize values made. It is safe for concurrent use.
type cache[K comparable, V any] struct {
	mu sync.RWMutex // protects the following
	m  map[K]*V
}

func (c *cache[K, V]) get(k K) *V {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.m[k]
}

// add keeps v, unless there is one for k already, and returns the one kept;
// nil if there is no room.
func (c *cache[K, V]) add(k K, v *V) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch old := c.m[k]; {
	case old != nil:
		return old
	case len(c.m) >= cacheSize:
		return nil
	case c.m == nil:
		c.m = make(map[K]*V)
	}
	c.m[k] = v
	return v
}
