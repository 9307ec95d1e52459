package notify

import (
	"context"
	"errors"
	"fmt"
)

// Endpoint is a set of handlers, by priority, for the notifications that its
// Filter lets through. Fill it with Handle, HandleRaw and HandleBatch before it is
// given to NewListener, which copies it. Several listeners may have the same one.
type Endpoint struct {
	Filter Filter // default: everything

	handlers map[Priority]handler
}

// handler handles notifications of one priority: one, or several at once.
type handler struct {
	batch bool
	fn    func(ctx context.Context, enc Encoding, ns []*Notification) error
}

// Handle registers a typed handler of a priority: fn gets the notification and its
// payload decoded into P, a struct or a map or whatever encoding/json takes. One
// whose payload does not fit P never reaches fn: that is logged as ErrBadPayload,
// and the notification dropped (dead-lettered where the queue says so), since it
// would never fit. fn is called concurrently.
//
// What fn returns decides what becomes of the notification: see
// ListenerOptions.AllowRequeue. Handle panics on a second handler for a priority,
// and on a priority that there is not: both are mistakes in the program.
func Handle[P any](ep *Endpoint, p Priority, fn func(ctx context.Context, n *Notification, payload P) error) {
	ep.add(p, handler{fn: func(ctx context.Context, enc Encoding, ns []*Notification) error {
		for _, n := range ns {
			var payload P
			if err := enc.Unmarshal(n.Payload, &payload); err != nil {
				return fmt.Errorf("%w: %w", ErrBadPayload, err)
			}
			if err := fn(ctx, n, payload); err != nil {
				return err
			}
		}
		return nil
	}})
}

// HandleRaw registers a handler that decodes by itself, if at all. The payload may
// hold Python's NaN, Infinity and -Infinity, which encoding/json refuses.
// HandleRaw panics as Handle does.
func HandleRaw(ep *Endpoint, p Priority, fn func(ctx context.Context, n *Notification) error) {
	ep.add(p, handler{fn: func(ctx context.Context, _ Encoding, ns []*Notification) error {
		for _, n := range ns {
			if err := fn(ctx, n); err != nil {
				return err
			}
		}
		return nil
	}})
}

// HandleBatch registers a handler that gets several notifications at once, in the
// order in which they came: as many as ListenerOptions.BatchSize and BatchTimeout
// have gathered, of this priority, and that the filter let through. Its error is
// about all of them. ctx has no request context: each notification has its own.
// HandleBatch panics as Handle does.
func HandleBatch(ep *Endpoint, p Priority, fn func(ctx context.Context, ns []*Notification) error) {
	ep.add(p, handler{batch: true, fn: func(ctx context.Context, _ Encoding, ns []*Notification) error { return fn(ctx, ns) }})
}

func (e *Endpoint) add(p Priority, h handler) {
	if err := p.check(); err != nil {
		panic("notify: " + err.Error()) //nolint:forbidigo // the program is wrong, before it listens
	}
	if _, ok := e.handlers[p]; ok {
		panic(fmt.Sprintf("notify: priority %q has two handlers in one endpoint", p)) //nolint:forbidigo // likewise
	}
	if e.handlers == nil {
		e.handlers = make(map[Priority]handler)
	}
	e.handlers[p] = h
}

// dispatcher is the endpoints of a listener as they were when it was made.
type dispatcher struct {
	endpoints []dispatchEntry
	encoding  Encoding
}

type dispatchEntry struct {
	filter   matcher
	handlers map[Priority]handlerCall
}

// handlerCall is a handler with the middleware round it.
type handlerCall struct {
	batch bool
	call  Invoker
}

var errNoHandlers = errors.New("no endpoint has a handler")

func newDispatcher(eps []*Endpoint, enc Encoding, middleware []Middleware) (*dispatcher, error) {
	d := &dispatcher{encoding: enc}
	n := 0
	for i, ep := range eps {
		if ep == nil {
			return nil, fmt.Errorf("endpoint %d is nil", i)
		}
		filter, err := ep.Filter.compile()
		if err != nil {
			return nil, fmt.Errorf("endpoint %d: %w", i, err)
		}
		entry := dispatchEntry{filter: filter, handlers: make(map[Priority]handlerCall, len(ep.handlers))}
		for p, h := range ep.handlers {
			inner := recovered(func(ctx context.Context, ns []*Notification) error { return h.fn(ctx, enc, ns) })
			if len(middleware) > 0 {
				inner = recovered(chain(inner, middleware))
			}
			entry.handlers[p] = handlerCall{h.batch, inner}
			n++
		}
		d.endpoints = append(d.endpoints, entry)
	}
	if n == 0 {
		return nil, errNoHandlers
	}
	return d, nil
}

// priorities returns those that some endpoint has a handler for.
func (d *dispatcher) priorities() []Priority {
	var ps []Priority
	for _, p := range Priorities() {
		for i := range d.endpoints {
			if _, ok := d.endpoints[i].handlers[p]; ok {
				ps = append(ps, p)
				break
			}
		}
	}
	return ps
}
