package conformance_test

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"github.com/patchbay-go/patchbay/messaging"
)

// isNotify reports whether an address is one of notifications of that priority, or
// of any with "".
func isNotify(a messaging.Address, priority string) bool {
	return a.Kind == messaging.KindNotify && (priority == "" || strings.HasSuffix(a.Topic, "."+priority))
}

// onNotifyListen makes a mutant of a func that changes what a listener of
// notifications subscribes to.
func onNotifyListen(change func(sub *messaging.Subscription)) func() hooks {
	return func() hooks {
		return hooks{listen: func(sub *messaging.Subscription) {
			if len(sub.Sources) > 0 && isNotify(sub.Sources[0], "") {
				change(sub)
			}
		}}
	}
}

func notifyMutants() []mutant {
	return []mutant{
		{
			"notification_context_lost", "loses the context of notifications",
			[]string{"notify_as_sent"},
			onSend(func(_ *conn, to *messaging.Address, m *messaging.Message) {
				if isNotify(*to, "") {
					dropHeader(m, "pb-context")
				}
			}),
		},
		{
			"priorities_by_prefix", "takes the priority of a debug notification for that of an error, too",
			[]string{"notify_only_wanted_priorities"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if topic, ok := strings.CutSuffix(to.Topic, ".debug"); ok && isNotify(*to, "") {
					again := copyOf(m)
					again.ID += "-again"
					c.quietly(messaging.Address{Kind: messaging.KindNotify, Topic: topic + ".error"}, again)
				}
			}),
		},
		{
			"notify_broadcast", "gives what two listeners share to both",
			[]string{"notify_handled_by_one"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				alone := 0
				for _, l := range c.w.servers(to.Topic) {
					if isNotify(l.sub.Sources[0], "") && l.sub.Group == "" && !l.sub.Tap {
						alone++
					}
				}
				if alone == 2 {
					again := copyOf(m)
					again.ID += "-again"
					c.quietly(*to, again)
				}
			}),
		},
		{
			"ensure_ignored", "does not declare the queue of a notification that nobody listens to",
			[]string{"notify_waits_for_listener"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) { m.Ensure = false }),
		},
		{
			"pool_dies_with_member", "loses what is published to a pool while its only member is away",
			[]string{"notify_pool_has_its_copy"},
			onNotifyListen(func(sub *messaging.Subscription) {
				if strings.Contains(sub.Group, "blue") {
					sub.Tap, sub.Group = true, ""
				}
			}),
		},
		{
			"tap_takes", "gives a tap a part of what the others share",
			[]string{"notify_tap_takes_nothing"},
			onNotifyListen(func(sub *messaging.Subscription) { sub.Tap = false }),
		},
		{
			"acknowledged_comes_again", "gives a notification once more although it was acknowledged",
			[]string{"notify_failed_is_over"},
			func() hooks {
				return hooks{settle: func(ctx context.Context, s *settler, o messaging.Outcome) error {
					if o == messaging.Ack && bytes.Contains(s.inner.Body, []byte(`"fails/`)) && !s.inner.Redelivered {
						o = messaging.Requeue
					}
					return s.inner.Settle(ctx, o)
				}}
			},
		},
		{
			"notify_prefetch_of_one", "fetches notifications one at a time",
			[]string{"notify_batch_by_size_and_time", "notify_failed_batch_comes_again"},
			onNotifyListen(func(sub *messaging.Subscription) { sub.Prefetch = 1 }),
		},
		{
			"notify_redelivery_unmarked", "does not say that a notification was delivered before",
			[]string{"notify_requeued_comes_again"},
			onDeliver(func(l *listener, d *messaging.Delivery) {
				if len(l.sub.Sources) > 0 && isNotify(l.sub.Sources[0], "") {
					d.Redelivered = false
				}
			}),
		},
		{
			"in_hand_dies_with_listener", "forgets a notification that a listener had in hand when its connection was closed",
			[]string{"notify_acknowledged_after_handling"},
			onDeliver(func(l *listener, d *messaging.Delivery) {
				if len(l.sub.Sources) > 0 && isNotify(l.sub.Sources[0], "") && l.sub.Prefetch == 6 {
					_ = d.Settle(context.Background(), messaging.Ack)
				}
			}),
		},
		{
			"recover_publish_not_notify", "does not listen to notifications again after a lost connection",
			[]string{"notify_outlives_its_links"},
			deafAfterLoss,
		},
	}
}

// deafAfterLoss gives a listener whose instance listened before an address that
// nobody sends to.
func deafAfterLoss() hooks {
	var mu sync.Mutex
	before := map[string]bool{}
	return hooks{listen: func(sub *messaging.Subscription) {
		if len(sub.Sources) == 0 || !isNotify(sub.Sources[0], "") {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if before[sub.Instance] {
			sub.Sources = []messaging.Address{{Kind: messaging.KindNotify, Topic: "nobody"}}
		}
		before[sub.Instance] = true
	}}
}
