package main

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// audience is what the commands listen and tap have in common: which notifications
// they want.
type audience struct {
	app        *app
	conn       *connection
	topics     []string
	exchange   string
	priorities []string
	filter     notify.Filter
	count      int
	timeout    time.Duration
}

// newAudience adds the flags of a command that receives notifications.
func (a *app) newAudience(cmd *cobra.Command) *audience {
	l := &audience{app: a, conn: a.addConnectionFlags(cmd)}
	addTopicFlags(cmd, &l.topics, &l.exchange)
	f := cmd.Flags()
	f.StringArrayVar(&l.priorities, "priority", nil, "`name` of a priority; repeatable (default: all)")
	completeWith(cmd, "priority", priorityNames())
	f.StringVar(&l.filter.EventType, "event", "", "only events whose type begins with a match of this `REGEXP`")
	f.StringVar(&l.filter.PublisherID, "publisher", "", "only of publishers whose name begins with a match of this `REGEXP`")
	f.IntVar(&l.count, "count", 0, "end after `N` (default: never)")
	addTimeoutFlag(cmd, &l.timeout, 0, "give up when it is not listening after this long (default: never)")
	return l
}

func (a *app) listenCommand() *cobra.Command {
	var pool string
	cmd := &cobra.Command{
		Use:   "listen --url URL [--topic TOPIC]...",
		Short: "Receive notifications, and print each",
		Long: `Receive notifications until SIGTERM or SIGINT, or --count of them, and print each as
a line of JSON. It takes them from the queue that all listeners of the topic share,
each of which gets a part; with --pool from a queue that the pool has for itself, and
that stays. To watch and take nothing from anyone, use "patchbay tap".

It prints {"event":"ready",…} once notifications reach it, and {"event":"stopped"} at
the end. A notification is acknowledged once it is printed; those that --event and
--publisher do not let through are acknowledged too. While the broker is away it
waits for it.`,
		Example: `  patchbay listen --url rabbit://guest:guest@localhost/ --priority error --priority critical
  {"event":"ready","topics":["notifications"],"priorities":["error","critical"]}
  {"event":"notification","priority":"error","publisher_id":"volume.host1","event_type":"volume.lost","payload":{"id":"v-42"},"metadata":{…},"context":{},"topic":"notifications","redelivered":false}

  patchbay listen --config /etc/ceilometer/ceilometer.conf --pool archive --event 'compute\.instance\.' --count 10`,
		Args: cobra.NoArgs,
	}
	l := a.newAudience(cmd)
	cmd.Flags().StringVar(&pool, "pool", "", "`name` of the pool: it gets a copy of everything, which its members share")
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error {
		if err := l.check(); err != nil {
			return err
		}
		return l.listen(ctx, notify.ListenerOptions{Pool: pool}, show{a.stdout.print, l.printEvent})
	})
	return cmd
}

// check finds mistakes in the flags. A listener would tell of some, but not before it
// is connected.
func (l *audience) check() error {
	for _, p := range l.priorities {
		if _, ok := findPriority(p); !ok {
			return usagef("--priority %s: want one of %v", p, notify.Priorities())
		}
	}
	if l.count < 0 {
		return usagef("--count %d: want at least 1", l.count)
	}
	for _, f := range [...]struct{ name, expression string }{{"--event", l.filter.EventType}, {"--publisher", l.filter.PublisherID}} {
		if _, err := regexp.Compile(f.expression); err != nil {
			return usagef("%s: %w", f.name, err)
		}
	}
	for _, topic := range l.conn.topicsOr(l.topics) {
		if err := (messaging.Target{Exchange: l.exchange, Topic: topic}).Validate(); err != nil {
			return err
		}
	}
	return nil
}

func findPriority(name string) (notify.Priority, bool) {
	for _, p := range notify.Priorities() {
		if string(p) == name {
			return p, true
		}
	}
	return "", false
}

// wanted returns the priorities that were asked for.
func (l *audience) wanted() []notify.Priority {
	var ps []notify.Priority
	for _, name := range l.priorities {
		if p, _ := findPriority(name); !slices.Contains(ps, p) { // an endpoint takes one handler of each
			ps = append(ps, p)
		}
	}
	if len(ps) == 0 {
		return notify.Priorities()
	}
	return ps
}

// show is how a command tells of what it hears.
type show struct {
	life         func(fields ...field) error // that it is ready, and stopped
	notification func(*notify.Notification) error
}

// listen shows every notification, until ctx ends or there were enough.
func (l *audience) listen(ctx context.Context, o notify.ListenerOptions, s show) error {
	open, err := l.conn.resolve(true)
	if err != nil {
		return err
	}
	o.Logger = l.app.logger(slog.LevelInfo)
	o.Executor, o.Prefetch = rpc.Workers(1), 16
	return l.app.withTransport(ctx, open, slog.LevelInfo, func(t *messaging.Transport) error {
		running, enough := context.WithCancel(ctx)
		defer enough()
		h := &headcount{audience: l, show: s, enough: enough, ready: make(chan struct{})}
		if err := h.start(ctx, t, o); err != nil {
			if ctx.Err() == nil {
				return err
			}
			return s.life(field{"event", "stopped"}) // before it began
		}
		h.failed = s.life(field{"event", "ready"}, field{"topics", l.conn.topicsOr(l.topics)}, field{"priorities", l.wanted()})
		close(h.ready)
		if h.failed == nil {
			<-running.Done()
		}
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), notify.DefaultDrainTimeout)
		defer cancel()
		if err := errors.Join(h.listener.Wait(drain), h.failed); err != nil {
			return err
		}
		return s.life(field{"event", "stopped"})
	})
}

// headcount shows as many notifications as were asked for.
type headcount struct {
	*audience
	show     show
	listener *notify.Listener
	ready    chan struct{} // closed when it was told that it is
	shown    int           // by the one worker
	enough   context.CancelFunc
	failed   error // of show: written before ready, then by the one worker, and read when the listener is drained
}

// start returns when notifications reach the listener.
func (h *headcount) start(ctx context.Context, t *messaging.Transport, o notify.ListenerOptions) error {
	if h.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, h.timeout)
		defer cancel()
		ctx = limited
	}
	caps, err := t.Capabilities(ctx)
	if err != nil {
		return err
	}
	o.AllowRequeue = caps.Requeue // what could not be printed goes back
	ep := &notify.Endpoint{Filter: h.filter}
	for _, p := range h.wanted() {
		notify.HandleRaw(ep, p, h.handle)
	}
	var targets []messaging.Target
	for _, topic := range h.conn.topicsOr(h.topics) {
		targets = append(targets, messaging.Target{Exchange: h.exchange, Topic: topic})
	}
	if h.listener, err = notify.NewListener(t, targets, []*notify.Endpoint{ep}, &o); err != nil {
		return &usageError{err}
	}
	return h.listener.Start(ctx)
}

// handle runs on the one worker. The last notification stops the listener before it
// is acknowledged, so that none after it is begun.
func (h *headcount) handle(ctx context.Context, n *notify.Notification) error {
	<-h.ready // the first line is that it is ready
	if h.failed != nil {
		return notify.ErrRequeue
	}
	if err := h.show.notification(n); err != nil { // nobody reads any more
		h.failed = err
		h.enough()
		return notify.Requeue(err)
	}
	if h.shown++; h.count == 0 || h.shown != h.count {
		return nil
	}
	defer h.enough()
	return h.listener.Stop(ctx)
}

// printEvent prints a notification as a line of JSON.
func (l *audience) printEvent(n *notify.Notification) error {
	values, err := contextObject(n.Context)
	if err != nil {
		return err
	}
	metadata, err := object(field{"message_id", n.MessageID}, field{"timestamp", n.Timestamp})
	if err != nil {
		return err
	}
	return l.app.stdout.print(
		field{"event", "notification"},
		field{"priority", n.Priority},
		field{"publisher_id", n.PublisherID},
		field{"event_type", n.EventType},
		field{"payload", n.Payload},
		field{"metadata", metadata},
		field{"context", values},
		field{"topic", n.Target.Topic},
		field{"redelivered", n.Redelivered},
	)
}
