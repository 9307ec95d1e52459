package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// maxField bounds a field of the propagator that came from the network, in
// bytes of JSON text; W3C's own bounds are 512 for tracestate, 8192 for baggage.
const maxField = 8192 + 2

// carrier is a request context as a propagation.TextMapCarrier. Its values are
// JSON texts, each of a string.
type carrier struct{ entries []messaging.ContextValue }

// Get returns the string of that key. What is no string, or too long, is as
// good as absent.
func (c *carrier) Get(key string) string {
	for i := range c.entries {
		if c.entries[i].Key == key {
			return unquote(c.entries[i].Value)
		}
	}
	return ""
}

// unquote returns the string that a JSON text is, or "".
func unquote(text []byte) string {
	n := len(text)
	if n < 2 || n > maxField || text[0] != '"' {
		return ""
	}
	if plain := text[1 : n-1]; bytes.IndexByte(plain, '\\') < 0 {
		return string(plain)
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return ""
	}
	return s
}

// Set adds an entry. The propagator sets each key once at most.
func (c *carrier) Set(key, value string) {
	text, err := json.Marshal(value)
	if err == nil { // strings always encode
		c.entries = append(c.entries, messaging.ContextValue{Key: key, Value: text})
	}
}

// Keys returns all keys.
func (c *carrier) Keys() []string {
	keys := make([]string, len(c.entries))
	for i := range c.entries {
		keys[i] = c.entries[i].Key
	}
	return keys
}

// inject puts the span of ctx into the request context, in place of the one
// that came with the request being handled, if any. It changes a copy: the
// entries may be those of other requests too.
func (t *Telemetry) inject(ctx context.Context, r *rpc.Request) {
	c := carrier{entries: make([]messaging.ContextValue, 0, len(r.Context)+len(t.fields))}
	for _, e := range r.Context {
		if !slices.Contains(t.fields, e.Key) {
			c.entries = append(c.entries, e)
		}
	}
	others := len(c.entries)
	t.propagator.Inject(ctx, &c)
	if len(c.entries) > others { // else what came goes on as it is
		r.Context = c.entries
	}
}
