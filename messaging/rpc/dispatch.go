package rpc

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// dispatcher finds the method for a request, by oslo.messaging's rule: the
// first endpoint, in the order given, that accepts the namespace, can serve the
// version and has the method.
type dispatcher struct {
	endpoints []dispatchEntry
	encoding  Encoding
}

// dispatchEntry is an Endpoint as it was when the server was made.
type dispatchEntry struct {
	namespaces []string
	version    version
	methods    map[string]handler // those that the access policy lets through
}

func newDispatcher(eps []*Endpoint, access AccessPolicy, enc Encoding) (*dispatcher, error) {
	d := &dispatcher{encoding: enc}
	for i, ep := range eps {
		if ep == nil {
			return nil, fmt.Errorf("endpoint %d is nil", i)
		}
		if err := d.add(ep, access); err != nil {
			return nil, fmt.Errorf("endpoint %d: %w", i, err)
		}
	}
	return d, nil
}

func (d *dispatcher) add(ep *Endpoint, access AccessPolicy) error {
	v, err := parseVersion(cmp.Or(ep.Version, DefaultVersion))
	if err != nil {
		return err
	}
	methods := maps.Clone(ep.methods)
	maps.DeleteFunc(methods, func(name string, _ handler) bool { return !access(ep, name) })
	d.endpoints = append(d.endpoints, dispatchEntry{
		namespaces: append([]string{ep.Namespace}, ep.LegacyNamespaces...),
		version:    v,
		methods:    methods,
	})
	return nil
}

// invoke is the innermost Invoker of a server.
func (d *dispatcher) invoke(ctx context.Context, r *Request) (json.RawMessage, error) {
	h, err := d.find(r.Namespace, r.Version, r.Method)
	if err != nil {
		return nil, err
	}
	return h(ctx, d.encoding, r)
}

// find returns the method, or an error in oslo.messaging's words: a namespace
// that no endpoint has is an unsupported version there, too.
func (d *dispatcher) find(namespace, requested, method string) (handler, error) {
	requested = cmp.Or(requested, DefaultVersion)
	compatible := false
	if v, err := parseVersion(requested); err == nil {
		for i := range d.endpoints {
			ep := &d.endpoints[i]
			if !ep.version.serves(v) || !slices.Contains(ep.namespaces, namespace) {
				continue
			}
			if h, ok := ep.methods[method]; ok {
				return h, nil
			}
			compatible = true
		}
	}
	if compatible {
		return nil, errNoSuchMethod(method)
	}
	return nil, errUnsupportedVersion(requested, method)
}

// pingEndpoint answers PingMethod.
func pingEndpoint() *Endpoint {
	ep := &Endpoint{}
	Handle(ep, PingMethod, func(context.Context, None) (string, error) { return "pong", nil })
	return ep
}
