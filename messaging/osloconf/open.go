package osloconf

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/notify/routing"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Open returns the transport, as messaging.Registry.Open does. What opts leaves open
// the files decide, then the defaults. opts may be nil.
func (c *Config) Open(ctx context.Context, reg messaging.Registry, opts *messaging.Options) (*messaging.Transport, error) {
	return reg.OpenURL(ctx, c.URL, c.options(opts))
}

// OpenNotifications returns the transport for notifications, which is another one
// than that of Open even where both have the same URL.
func (c *Config) OpenNotifications(ctx context.Context, reg messaging.Registry, opts *messaging.Options) (*messaging.Transport, error) {
	return reg.OpenURL(ctx, cmp.Or(c.Notifications.URL, c.URL), c.options(opts))
}

func (c *Config) options(opts *messaging.Options) *messaging.Options {
	var o messaging.Options
	if opts != nil {
		o = *opts
	}
	o.ConnIdle = cmp.Or(o.ConnIdle, c.transport.ConnIdle)
	o.BackoffMin = cmp.Or(o.BackoffMin, c.transport.BackoffMin)
	o.BackoffMax = cmp.Or(o.BackoffMax, c.transport.BackoffMax)
	o.ReplyWindow = cmp.Or(o.ReplyWindow, c.transport.ReplyWindow)
	return &o
}

// ClientOptions returns the options of an rpc.Client: its timeout.
func (c *Config) ClientOptions() *rpc.ClientOptions {
	return &rpc.ClientOptions{Timeout: c.ResponseTimeout}
}

// ServerOptions returns the options of an rpc.Server: its workers, and whether it
// answers pings. The executor is new each time.
func (c *Config) ServerOptions() *rpc.ServerOptions {
	return &rpc.ServerOptions{Executor: rpc.Workers(c.Workers), Ping: c.Ping}
}

// Notifier returns the notifier of a publisher, over t, with the drivers, topics and
// retries that the files say; without drivers, as by default, it does nothing. log
// is for the driver "log"; nil is slog.Default. An unknown driver, which
// oslo.messaging passes over, is ErrInvalid.
func (c *Config) Notifier(publisherID string, t *messaging.Transport, log *slog.Logger) (*notify.Notifier, error) {
	if log == nil {
		log = slog.Default()
	}
	over := func(f notify.Format) notify.Driver {
		return notify.Messaging(t, &notify.MessagingOptions{Topics: c.Notifications.Topics, Format: f, Retry: c.retry()})
	}
	known := map[string]notify.Driver{
		"messaging": over(notify.V1), "messagingv2": over(notify.V2), "log": notify.Log(log), "noop": notify.Noop(),
	}
	if slices.Contains(c.Notifications.Drivers, "routing") && c.Notifications.RoutingConfig != "" {
		d, err := routing.ReadFile(c.Notifications.RoutingConfig, known)
		if err != nil {
			return nil, err
		}
		known["routing"] = d
	}
	var drivers []notify.Driver
	for i, name := range c.Notifications.Drivers {
		if slices.Contains(c.Notifications.Drivers[:i], name) {
			continue // it publishes once, in however many files it is
		}
		d, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("%w: [%s] driver %s: there are messagingv2, messaging, log, noop, and routing, which needs routing_config",
				ErrInvalid, notificationsGroup, quoted(name))
		}
		drivers = append(drivers, d)
	}
	return notify.NewNotifier(publisherID, drivers, nil), nil
}

// retry returns oslo.messaging's number of retries as Patchbay counts.
func (c *Config) retry() int {
	switch n := c.Notifications.Retry; {
	case n < 0:
		return 0 // until the timeout
	case n == 0:
		return -1 // none
	default:
		return n
	}
}
