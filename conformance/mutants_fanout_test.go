package conformance_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/messaging"
)

func fanoutMutants() []mutant {
	return []mutant{
		{
			"fanout_thrice", "sends a fanout to each server's other addresses too",
			[]string{"fanout_all_members", "fanout_per_server_once", "fanout_large_group"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if isFanout(*to) {
					for _, s := range c.w.servers(to.Topic) {
						c.quietly(named(*to, s.server()), m)
					}
				}
			}),
		},
		{
			"fanout_wrong_source", "delivers fanouts as though they came by name",
			[]string{"fanout_per_server_once"},
			func() hooks {
				return hooks{deliver: func(_ *listener, d *messaging.Delivery) {
					if d.Source == 2 {
						d.Source = 1
					}
				}}
			},
		},
		{
			"fanout_needs_somebody", "reports a fanout to nobody as an error",
			[]string{"fanout_no_members_ok"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if isFanout(to) && len(c.w.servers(to.Topic)) == 0 {
						done.Complete(messaging.ErrNoRoute)
						return nil
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"fanout_to_neighbour", "takes topics for one that differ in their last character",
			[]string{"fanout_isolated_topics"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if !isFanout(*to) || strings.Contains(string(m.Body), "fence") {
					return
				}
				for _, s := range c.w.servers("") {
					other := s.sub.Sources[0]
					if n := len(to.Topic); other.Topic != to.Topic && len(other.Topic) == n && other.Topic[:n-1] == to.Topic[:n-1] {
						other.Fanout = true
						c.quietly(other, m)
					}
				}
			}),
		},
		{
			"fanout_skip_first", "loses the first fanout to each member after the fourth: the slow joiner",
			[]string{"fanout_new_member_after_ready", "fanout_large_group"},
			func() hooks {
				return hooks{poll: func(ctx context.Context, l *listener) (*messaging.Delivery, error) {
					for {
						d, err := l.next(ctx)
						if err != nil || d.Source != 2 || l.count > 0 {
							return d, err
						}
						l.count++
						if len(l.w.servers(l.sub.Sources[0].Topic)) <= 4 {
							return d, nil
						}
						if err := d.Settle(ctx, messaging.Ack); err != nil {
							return nil, err
						}
					}
				}}
			},
		},
		{
			"fanout_block_on_slow", "waits with a fanout until every member has handled the one before",
			[]string{"fanout_slow_member_does_not_block_others"},
			blockOnSlow,
		},
		{
			"fanout_queue_stays", "keeps the fanout queue of a server that left, by its name",
			[]string{"fanout_excludes_left_member"},
			func() hooks {
				return hooks{
					listen: func(sub *messaging.Subscription) {
						if len(sub.Sources) > 1 {
							sub.Instance = sub.Sources[1].Topic + sub.Sources[1].Server
						}
					},
					leave: func(ctx context.Context, l *listener) error {
						if l.sub.Reply != "" {
							return l.Listener.Close(ctx)
						}
						_, err := l.Listener.Stop(ctx)
						return err
					},
				}
			},
		},
	}
}

// blockOnSlow counts the fanouts that are being handled.
func blockOnSlow() hooks {
	return hooks{
		deliver: func(l *listener, d *messaging.Delivery) {
			if d.Source == 2 {
				l.w.count(l.sub.Sources[0].Topic, 1)
			}
		},
		settle: func(ctx context.Context, s *settler, o messaging.Outcome) error {
			if s.inner.Source == 2 {
				s.l.w.count(s.l.sub.Sources[0].Topic, -1)
			}
			return s.inner.Settle(ctx, o)
		},
		send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
			for isFanout(to) {
				c.w.mu.Lock()
				busy, changed := c.w.counts[to.Topic], c.w.changed
				c.w.mu.Unlock()
				if busy <= 0 {
					break
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return messaging.ErrNotSent
				}
			}
			return c.Conn.Send(ctx, to, m, done)
		},
	}
}

func optionMutants() []mutant {
	return []mutant{
		{
			"not_durable", "forgets durable messages at a restart",
			[]string{"durable_survives_restart"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) { m.Durable = false }),
		},
		{
			"ttl_ignored", "keeps messages beyond their time",
			[]string{"ttl_expires", "call_expired_request_not_executed"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) { m.TTL = 0 }),
		},
		{
			"priority_ignored", "keeps the order of sending for all priorities",
			[]string{"priority_order"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) { m.Priority = 0 }),
		},
		{
			"group_of_one", "gives each member of a group its own copies",
			[]string{"notify_pool_has_its_copy", "group_shares_queue"},
			func() hooks {
				return hooks{listen: func(sub *messaging.Subscription) {
					if sub.Group != "" {
						sub.Group += sub.Instance
					}
				}}
			},
		},
		{
			"reply_address_renamed", "chooses reply addresses itself",
			[]string{"reply_address_survives", "cut_during_call_reply_survives_or_typed"},
			func() hooks {
				var n atomic.Int64
				return hooks{listen: func(sub *messaging.Subscription) {
					if sub.Reply != "" {
						sub.Reply = fmt.Sprintf("mine-%d", n.Add(1))
					}
				}}
			},
		},
	}
}
