// Package requestctx carries the request context, entries that travel with every
// request and notification, in a context.Context.
package requestctx

import (
	"context"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
	"github.com/patchbay-go/patchbay/messaging"
)

type key struct{} // of a *Values in a context

// Values is the request context. It is never changed once it is in a context.
type Values struct {
	Entries []messaging.ContextValue
	Err     error // an entry could not be encoded; sending fails with it
}

// Of returns the request context of ctx; its zero value if there is none.
func Of(ctx context.Context) Values {
	if v, ok := ctx.Value(key{}).(*Values); ok {
		return *v
	}
	return Values{}
}

// With returns ctx with another request context.
func With(ctx context.Context, v *Values) context.Context { return context.WithValue(ctx, key{}, v) }

// Context is the context of a handler, with the request context that came.
type Context struct {
	lazyctx.Context
	Values Values
}

// Value knows the request context.
func (c *Context) Value(k any) any {
	if k == (key{}) {
		return &c.Values
	}
	return c.Context.Value(k)
}
