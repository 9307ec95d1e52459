package notify

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// DefaultTimeout is how long publishing takes at most when neither ctx nor the
// options say so.
const DefaultTimeout = 60 * time.Second

// DefaultTopic is oslo.messaging's default topic.
const DefaultTopic = "notifications"

// Format is how a notification is written on oslo.messaging's wire.
type Format uint8

// The formats. Listeners of Patchbay and of oslo.messaging read both.
const (
	V2 Format = iota // oslo.messaging's driver messagingv2: in the envelope 2.0
	V1               // its driver messaging: bare, for consumers that know no envelope
)

// MessagingOptions are the options of Messaging. Nil means all defaults.
type MessagingOptions struct {
	Topics   []string // each gets a copy. Default: DefaultTopic
	Exchange string   // default: the driver's
	Format   Format   // default: V2

	// Timeout bounds one notification: the earlier of it and ctx's deadline
	// counts. Default: DefaultTimeout.
	Timeout time.Duration

	// Retry is how many more attempts there are to send what was surely not
	// sent. Default: until the timeout; negative: none.
	Retry int

	// Durable makes notifications survive a restart of the peer, where their
	// queue does. It needs Capabilities.Durable.
	Durable bool
}

// Messaging returns the driver that publishes over a transport: oslo.messaging's
// messagingv2 or messaging. Its Notify waits until the peer accepted the
// notification, for every topic; the errors match one of the outcomes of a send,
// messaging.ErrNotSent and so on. It declares the queue of the address before.
func Messaging(t *messaging.Transport, opts *MessagingOptions) Driver {
	d := &messagingDriver{transport: t}
	if opts != nil {
		d.opts = *opts
	}
	if len(d.opts.Topics) == 0 {
		d.opts.Topics = []string{DefaultTopic}
	}
	if d.opts.Timeout <= 0 {
		d.opts.Timeout = DefaultTimeout
	}
	d.send = messaging.SendOptions{Retry: d.opts.Retry, Durable: d.opts.Durable, Ensure: true}
	return d
}

type messagingDriver struct {
	transport *messaging.Transport
	opts      MessagingOptions
	send      messaging.SendOptions
}

func (d *messagingDriver) Notify(ctx context.Context, n *Notification) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	body := n.body()
	errs := make([]error, len(d.opts.Topics))
	for i, topic := range d.opts.Topics {
		to, err := address(messaging.Target{Exchange: d.opts.Exchange, Topic: topic}, n.Priority)
		if err == nil {
			e := &messaging.Envelope{Kind: messaging.KindNotify, Context: n.Context, Bare: d.opts.Format == V1, Body: body}
			err = d.transport.Send(ctx, to, e, &d.send)
		}
		if err != nil {
			errs[i] = opError(n.EventType, err)
		}
	}
	return errors.Join(errs...)
}

// address returns where notifications of a priority go, or come from.
func address(t messaging.Target, p Priority) (messaging.Address, error) {
	t = messaging.Target{Exchange: t.Exchange, Topic: t.Topic}
	if err := t.Validate(); err != nil {
		return messaging.Address{}, err
	}
	a := messaging.Address{Kind: messaging.KindNotify, Exchange: t.Exchange, Topic: t.Topic + "." + string(p)}
	return a, nil
}

// Log returns the driver that writes notifications into a log, with the level of
// their priority: Audit and Sample are slog.LevelInfo. Values of payload members
// whose name speaks of a password, a key, a token or another of oslo.utils' secrets are
// "***".
func Log(log *slog.Logger) Driver {
	return DriverFunc(func(ctx context.Context, n *Notification) error {
		if level := n.Priority.level(); log.Enabled(ctx, level) {
			log.LogAttrs(ctx, level, "notification",
				slog.String("event_type", n.EventType), slog.String("publisher_id", n.PublisherID),
				slog.String("priority", string(n.Priority)), slog.String("message_id", n.MessageID),
				slog.Any("payload", masked(n.Payload)))
		}
		return nil
	})
}

// level returns the level of a priority.
func (p Priority) level() slog.Level {
	switch p {
	case Debug:
		return slog.LevelDebug
	case Warn:
		return slog.LevelWarn
	case Error:
		return slog.LevelError
	case Critical:
		return slog.LevelError + 4
	}
	return slog.LevelInfo
}

// Noop returns the driver that does nothing.
func Noop() Driver {
	return DriverFunc(func(context.Context, *Notification) error { return nil })
}
