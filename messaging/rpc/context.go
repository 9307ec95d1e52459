package rpc

import (
	"context"
	"fmt"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
	"github.com/patchbay-go/patchbay/messaging"
)

// contextKey is the key of a *requestValues in a context.
type contextKey struct{}

// requestValues is the request context: entries that travel with every
// request. It is never changed once it is in a context.
type requestValues struct {
	entries []messaging.ContextValue
	err     error // an entry could not be encoded; sending fails with it
}

// handlerContext is the context of a handler: it carries the request context
// that came.
type handlerContext struct {
	lazyctx.Context
	values requestValues
}

// Value knows the request context.
func (c *handlerContext) Value(key any) any {
	if key == (contextKey{}) {
		return &c.values
	}
	return c.Context.Value(key)
}

// valuesOf returns the request context of ctx; its zero value if there is none.
func valuesOf(ctx context.Context) requestValues {
	if v, ok := ctx.Value(contextKey{}).(*requestValues); ok {
		return *v
	}
	return requestValues{}
}

// NewContext adds an entry to the request context, which travels with every
// request sent under ctx, or replaces the one of that key. value must be
// encodable as JSON: else what is sent under the context fails with
// ErrBadArguments.
//
// The request context is for what describes a request rather than belongs to
// its arguments: who asks, on whose behalf, the request's id.
func NewContext(ctx context.Context, key string, value any) context.Context {
	old := valuesOf(ctx)
	v := &requestValues{entries: make([]messaging.ContextValue, 0, len(old.entries)+1), err: old.err}
	for _, e := range old.entries {
		if e.Key != key {
			v.entries = append(v.entries, e)
		}
	}
	var j JSON
	data, err := j.Marshal(value)
	if err != nil {
		v.err = fmt.Errorf("%w: request context %q: %w", ErrBadArguments, key, err)
	} else {
		v.entries = append(v.entries, messaging.ContextValue{Key: key, Value: data})
	}
	return context.WithValue(ctx, contextKey{}, v)
}

// Values returns the request context of ctx, decoded: in a handler, what the
// caller sent. Integers come as json.Number; a value that is no JSON is left
// out. A handler's ctx passes its request context on to nested calls.
func Values(ctx context.Context) map[string]any {
	entries := valuesOf(ctx).entries
	values := make(map[string]any, len(entries))
	for _, e := range entries {
		var v any
		if unmarshalLenient(e.Value, &v) == nil {
			values[e.Key] = v
		}
	}
	return values
}

// Value decodes the entry of the request context with that key, and reports
// whether there is one.
func Value(ctx context.Context, key string, into any) (bool, error) {
	for _, e := range valuesOf(ctx).entries {
		if e.Key != key {
			continue
		}
		if err := unmarshalLenient(e.Value, into); err != nil {
			return true, fmt.Errorf("decoding request context %q: %w", key, err)
		}
		return true, nil
	}
	return false, nil
}
