package rpc

import (
	"context"
	"fmt"

	"github.com/patchbay-go/patchbay/internal/jsontext"
	"github.com/patchbay-go/patchbay/internal/requestctx"
	"github.com/patchbay-go/patchbay/messaging"
)

// NewContext adds an entry to the request context, which travels with every
// request sent under ctx, or replaces the one of that key. value must be
// encodable as JSON: else what is sent under the context fails with
// ErrBadArguments.
//
// The request context is for what describes a request rather than belongs to
// its arguments: who asks, on whose behalf, the request's id.
func NewContext(ctx context.Context, key string, value any) context.Context {
	old := requestctx.Of(ctx)
	v := &requestctx.Values{Entries: make([]messaging.ContextValue, 0, len(old.Entries)+1), Err: old.Err}
	for _, e := range old.Entries {
		if e.Key != key {
			v.Entries = append(v.Entries, e)
		}
	}
	var c jsontext.Codec
	data, err := c.Marshal(value)
	if err != nil {
		v.Err = fmt.Errorf("%w: request context %q: %w", ErrBadArguments, key, err)
	} else {
		v.Entries = append(v.Entries, messaging.ContextValue{Key: key, Value: data})
	}
	return requestctx.With(ctx, v)
}

// Values returns the request context of ctx, decoded: in a handler, what the
// caller sent. Integers come as json.Number; a value that is no JSON is left
// out. A handler's ctx passes its request context on to nested calls.
func Values(ctx context.Context) map[string]any {
	entries := requestctx.Of(ctx).Entries
	values := make(map[string]any, len(entries))
	for _, e := range entries {
		var v any
		if jsontext.Unmarshal(e.Value, &v) == nil {
			values[e.Key] = v
		}
	}
	return values
}

// Value decodes the entry of the request context with that key, and reports
// whether there is one.
func Value(ctx context.Context, key string, into any) (bool, error) {
	for _, e := range requestctx.Of(ctx).Entries {
		if e.Key != key {
			continue
		}
		if err := jsontext.Unmarshal(e.Value, into); err != nil {
			return true, fmt.Errorf("decoding request context %q: %w", key, err)
		}
		return true, nil
	}
	return false, nil
}
