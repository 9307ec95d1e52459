package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/patchbay-go/patchbay/internal/requestctx"
	"github.com/patchbay-go/patchbay/messaging"
)

// Notifier publishes notifications of one publisher through drivers: over a
// transport, into a log, or where rules say. It is immutable and safe for
// concurrent use; Prepare derives others from it.
type Notifier struct {
	publisherID string
	drivers     []Driver
	opts        NotifierOptions
	invoke      Invoker
}

// Driver takes notifications to where they go. It is safe for concurrent use, and
// keeps nothing of n after Notify has returned.
type Driver interface {
	Notify(ctx context.Context, n *Notification) error
}

// DriverFunc is a Driver made of a func.
type DriverFunc func(ctx context.Context, n *Notification) error

// Notify calls f.
func (f DriverFunc) Notify(ctx context.Context, n *Notification) error { return f(ctx, n) }

// NewNotifier returns a notifier of a publisher, such as "compute.host1". Every
// driver gets every notification; without any, nothing happens. opts may be nil.
func NewNotifier(publisherID string, drivers []Driver, opts *NotifierOptions) *Notifier {
	n := &Notifier{publisherID: publisherID, drivers: drivers, opts: opts.withDefaults()}
	n.invoke = chain(n.publish, n.opts.Middleware)
	return n
}

// Prepare returns a notifier that publishes as somebody else.
func (n *Notifier) Prepare(publisherID string) *Notifier {
	p := *n
	p.publisherID = publisherID
	return &p
}

// Enabled reports whether there is a driver, so that an expensive payload need not
// be made for nobody.
func (n *Notifier) Enabled() bool { return len(n.drivers) > 0 }

// Notify publishes what happened. payload is whatever encodes as JSON, an object
// by convention; nil is null. It waits until every driver is done, which over a
// transport means that the peer accepted it: see MessagingOptions. The error joins
// those of the drivers; the others have published it.
func (n *Notifier) Notify(ctx context.Context, p Priority, eventType string, payload any) error {
	if !n.Enabled() {
		return nil
	}
	m, err := n.make(ctx, p, eventType, payload)
	if err != nil {
		return opError(eventType, err)
	}
	return n.invoke(ctx, []*Notification{m})
}

// Audit publishes with priority Audit.
func (n *Notifier) Audit(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, Audit, eventType, payload)
}

// Debug publishes with priority Debug.
func (n *Notifier) Debug(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, Debug, eventType, payload)
}

// Info publishes with priority Info.
func (n *Notifier) Info(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, Info, eventType, payload)
}

// Warn publishes with priority Warn.
func (n *Notifier) Warn(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, Warn, eventType, payload)
}

// Error publishes with priority Error.
func (n *Notifier) Error(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, Error, eventType, payload)
}

// Critical publishes with priority Critical.
func (n *Notifier) Critical(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, Critical, eventType, payload)
}

// Sample publishes with priority Sample.
func (n *Notifier) Sample(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, Sample, eventType, payload)
}

// make returns the notification, complete.
func (n *Notifier) make(ctx context.Context, p Priority, eventType string, payload any) (*Notification, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	values := requestctx.Of(ctx)
	if values.Err != nil {
		return nil, values.Err
	}
	m := &Notification{Priority: p, EventType: eventType, PublisherID: n.publisherID, Count: -1}
	for _, e := range values.Entries {
		if n.opts.Context(e.Key) {
			m.Context = append(m.Context, e)
		}
	}
	if payload != nil {
		var err error
		if m.Payload, err = n.opts.Encoding.Marshal(payload); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadPayload, err)
		}
	}
	m.complete()
	return m, nil
}

// publish is the innermost Invoker.
func (n *Notifier) publish(ctx context.Context, ms []*Notification) error {
	var errs []error
	for _, m := range ms {
		for _, d := range n.drivers {
			errs = append(errs, d.Notify(ctx, m))
		}
	}
	return errors.Join(errs...)
}

// opError says which notification was not published. The core's error says where;
// the two become one.
func opError(eventType string, err error) error {
	e := &messaging.OpError{Op: fmt.Sprintf("notifying %.100q", eventType), Err: err}
	var inner *messaging.OpError
	if errors.As(err, &inner) && err == error(inner) { //nolint:errorlint // only the outermost
		e.Op += " to"
		e.Addr, e.Err = inner.Addr, inner.Err
	}
	return e
}

// SafeContext reports whether an entry of a request context is one of those which
// oslo.context lets travel with notifications: who, in which project, for which
// request. All others, credentials among them, stay.
func SafeContext(key string) bool {
	key = strings.TrimPrefix(key, "service_")
	switch key {
	case "user_id", "user_name", "user", "user_domain_id", "user_domain_name", "user_domain",
		"project_id", "project_name", "project", "project_domain_id", "project_domain_name", "project_domain", "tenant",
		"domain_id", "domain_name", "domain", "system_scope", "roles", "is_admin", "is_admin_project", "read_only",
		"show_deleted", "resource_uuid", "user_identity", "request_id", "global_request_id",
		"traceparent", "tracestate":
		return true
	}
	return false
}

// AllContext lets every entry of the request context travel.
func AllContext(string) bool { return true }
