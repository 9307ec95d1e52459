package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-go/patchbay/internal/jsontext"
)

// Endpoint is a set of methods under a namespace and a version, the unit that
// evolves: a new method or an optional argument raises the minor version,
// everything else the major one, and then both versions are served by two
// endpoints.
//
// Fill it with Handle and HandleRaw before it is given to NewServer, which
// copies it. Several servers may have the same Endpoint.
type Endpoint struct {
	Namespace        string   // default: none, oslo.messaging's null
	LegacyNamespaces []string // also accepted; "" as an element is the null namespace
	Version          string   // default "1.0"

	methods map[string]handler
}

// handler is a method, behind its types.
type handler func(ctx context.Context, enc Encoding, r *Request) (json.RawMessage, error)

// PingMethod is the method that a server with ServerOptions.Ping answers, as
// oslo.messaging's servers do with rpc_ping_enabled.
const PingMethod = "oslo_rpc_server_ping"

// DefaultVersion is the version of an Endpoint, and of a request, that does not say one.
const DefaultVersion = "1.0"

// Handle registers a typed method: fn gets the arguments decoded into A, a
// struct or a map or None, and what it returns is encoded. Arguments that do
// not fit A never reach fn: the caller gets ErrBadArguments. With the default
// Encoding of servers that includes names which A does not have; arguments that
// are missing are zero. fn is called concurrently.
//
// Handle panics on a duplicate or an empty name: both are mistakes in the program.
func Handle[A, R any](ep *Endpoint, method string, fn func(ctx context.Context, args A) (R, error)) {
	ep.add(method, func(ctx context.Context, enc Encoding, r *Request) (json.RawMessage, error) {
		var args A
		if err := enc.Unmarshal(r.Args, &args); err != nil {
			return nil, errBadArguments(r.Method, err)
		}
		result, err := fn(ctx, args)
		if err != nil {
			return nil, err
		}
		return encodeResult(enc, r, result)
	})
}

// HandleRaw registers a method that sees the request as it came. Its arguments
// may hold Python's NaN, Infinity and -Infinity, which encoding/json refuses
// (see JSON), and so may its result. Nil stands for null. HandleRaw panics as
// Handle does.
func HandleRaw(ep *Endpoint, method string, fn func(ctx context.Context, r *Request) (json.RawMessage, error)) {
	ep.add(method, func(ctx context.Context, _ Encoding, r *Request) (json.RawMessage, error) {
		if r.reuse { // a handler that keeps it must not see another's
			r.kept = true
			own := *r
			r = &own
		}
		result, err := fn(ctx, r)
		if err != nil {
			return nil, err
		}
		return encodeResult(nil, r, result)
	})
}

func (e *Endpoint) add(method string, h handler) {
	if method == "" {
		panic("rpc: a method needs a name") //nolint:forbidigo // the program is wrong, before it serves
	}
	if _, ok := e.methods[method]; ok {
		panic(fmt.Sprintf("rpc: method %q is registered twice", method)) //nolint:forbidigo // likewise
	}
	if e.methods == nil {
		e.methods = make(map[string]handler)
	}
	e.methods[method] = h
}

// encodeResult encodes what a method returned to r. enc is not used for raw
// results.
func encodeResult(enc Encoding, r *Request, result any) (json.RawMessage, error) {
	var data []byte
	var err error
	switch v := result.(type) {
	case None:
		return json.RawMessage("null"), nil
	case json.RawMessage:
		data, err = jsontext.Check(v)
	default:
		if j, ok := enc.(*JSON); ok && r.reuse {
			r.buffer, data, err = j.codec.Encode(result)
		} else {
			data, err = enc.Marshal(result)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the result: %w", err)
	}
	return data, nil
}

// AccessPolicy decides whether a registered method may be called. To a caller,
// a refused method is one that does not exist. NewServer asks it, once for each
// method.
type AccessPolicy func(ep *Endpoint, method string) bool

// DefaultAccess refuses names that begin with "_".
func DefaultAccess(_ *Endpoint, method string) bool { return !strings.HasPrefix(method, "_") }

// LegacyAccess lets every registered method be called.
func LegacyAccess(*Endpoint, string) bool { return true }

// ExplicitAccess lets the methods named be called, and no other.
func ExplicitAccess(methods ...string) AccessPolicy {
	allowed := slices.Clone(methods)
	return func(_ *Endpoint, method string) bool { return slices.Contains(allowed, method) }
}
