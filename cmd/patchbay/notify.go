package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// publisher is the command notify.
type publisher struct {
	app       *app
	conn      *connection
	topics    []string
	exchange  string
	priority  *choice
	publisher string
	format    *choice
	context   []string
	count     int
	timeout   time.Duration
}

func (a *app) notifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify --url URL EVENT [name=string | name:=json]...",
		Short: "Publish a notification",
		Long: `Publish a notification: EVENT happened, and the arguments are its payload, an object.
It waits in the queue of its topic and priority until a listener takes it.

It prints {"accepted":N} once the broker has accepted the notifications, one for each
topic and --count; those that fail do not stop the others, unless nothing can be
sent any more.`,
		Example: `  patchbay notify --url rabbit://guest:guest@localhost/ volume.create.end id=v-42 size:=10
  {"accepted":1}

  patchbay notify --config /etc/cinder/cinder.conf --priority error --publisher volume.host1 volume.lost id=v-42`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" || strings.Contains(args[0], "=") {
				return usagef("no EVENT before the payload; see %q", cmd.CommandPath()+" --help")
			}
			return nil
		},
	}
	p := &publisher{app: a, conn: a.addConnectionFlags(cmd)}
	f := cmd.Flags()
	addTopicFlags(cmd, &p.topics, &p.exchange)
	p.priority = addChoiceFlag(cmd, "priority", "how much it matters", priorityNames()...)
	p.priority.value = string(notify.Info)
	f.StringVar(&p.publisher, "publisher", "", "`name` of who tells (default: patchbay and the host's name)")
	p.format = addChoiceFlag(cmd, "format", "of oslo.messaging's wire: v2 has an envelope, v1 is bare", "v2", "v1")
	f.StringArrayVar(&p.context, "context", nil, "`k=v` or k:=json to send in the notification's context; repeatable")
	f.IntVar(&p.count, "count", 1, "publish it `N` times")
	addTimeoutFlag(cmd, &p.timeout, defaultTimeout, "how long each notification may wait to be accepted")
	cmd.RunE = a.action(func(ctx context.Context, args []string) error { return p.run(ctx, args) })
	return cmd
}

// addTopicFlags adds the flags that name topics of notifications.
func addTopicFlags(cmd *cobra.Command, topics *[]string, exchange *string) {
	cmd.Flags().StringArrayVar(topics, "topic", nil, "`name` of a topic; repeatable (default: "+notify.DefaultTopic+", or what the configuration says)")
	cmd.Flags().StringVar(exchange, "exchange", "", "`name` of the exchange that scopes the topics (default: the driver's)")
}

// topicsOr returns the topics that were given, or those of the configuration.
func (c *connection) topicsOr(given []string) []string {
	switch {
	case len(given) > 0:
		return given
	case c.conf != nil:
		return c.conf.Notifications.Topics
	}
	return []string{notify.DefaultTopic}
}

func priorityNames() []string {
	var names []string
	for _, p := range notify.Priorities() {
		names = append(names, string(p))
	}
	return names
}

func (p *publisher) run(ctx context.Context, args []string) error {
	if p.count < 1 {
		return usagef("--count %d: want at least 1", p.count)
	}
	event, body, err := parseMethod(args)
	if err != nil {
		return err
	}
	values, err := parsePairs("--context", p.context)
	if err != nil {
		return err
	}
	for _, v := range values {
		ctx = rpc.NewContext(ctx, v.key, v.value) //nolint:fatcontext // as many as the user typed
	}
	if p.publisher == "" {
		if p.publisher, err = defaultPublisher(); err != nil {
			return err
		}
	}
	open, err := p.conn.resolve(true)
	if err != nil {
		return err
	}
	return p.app.withTransport(ctx, open, quiet, func(t *messaging.Transport) error {
		var notifiers []*notify.Notifier // in turn
		for _, topic := range p.conn.topicsOr(p.topics) {
			notifiers = append(notifiers, p.notifier(t, topic))
		}
		if p.count > math.MaxInt/len(notifiers) {
			return usagef("--count %d: that many are too many", p.count)
		}
		all := casts{what: "notifications", left: p.count * len(notifiers)}
		var next atomic.Uint64
		all.send = func(ctx context.Context) error {
			n := notifiers[(next.Add(1)-1)%uint64(len(notifiers))]
			return n.Notify(ctx, notify.Priority(p.priority.value), event, body)
		}
		err := all.run(ctx)
		return errors.Join(p.app.stdout.print(field{"accepted", all.accepted}), err)
	})
}

func (p *publisher) notifier(t *messaging.Transport, topic string) *notify.Notifier {
	o := &notify.MessagingOptions{Topics: []string{topic}, Exchange: p.exchange, Timeout: p.timeout}
	if p.format.value == "v1" {
		o.Format = notify.V1
	}
	return notify.NewNotifier(p.publisher, []notify.Driver{notify.Messaging(t, o)}, &notify.NotifierOptions{Context: notify.AllContext})
}

func defaultPublisher() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("naming the publisher: %w (give --publisher)", err)
	}
	return "patchbay." + host, nil
}
