package conformance_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// onSettle makes a mutant of a func that changes outcomes.
func onSettle(change func(messaging.Outcome) messaging.Outcome) func() hooks {
	return func() hooks {
		return hooks{settle: func(ctx context.Context, s *settler, o messaging.Outcome) error {
			return s.inner.Settle(ctx, change(o))
		}}
	}
}

// instead returns a func that replaces one outcome.
func instead(of, by messaging.Outcome) func(messaging.Outcome) messaging.Outcome {
	return func(o messaging.Outcome) messaging.Outcome {
		if o == of {
			return by
		}
		return o
	}
}

func replyMutants() []mutant {
	return []mutant{
		{
			"reply_broadcast", "gives every reply to all clients",
			[]string{"call_reply_for_other_client_never_delivered", "call_reply_to_strange_address", "call_1000_concurrent_correlated"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if beat, _ := m.Header("pb-heartbeat"); to.Kind != messaging.KindReply || beat == "true" {
					return
				}
				c.w.mu.Lock()
				var others []string
				for _, l := range c.w.listeners {
					if l.sub.Reply != "" && l.sub.Reply != to.Direct {
						others = append(others, l.sub.Reply)
					}
				}
				c.w.mu.Unlock()
				for _, other := range others {
					c.quietly(messaging.Address{Kind: messaging.KindReply, Direct: other}, m)
				}
			}),
		},
		{
			"reply_to_latest_call", "takes a reply for the answer to the latest call",
			[]string{
				"call_late_reply_dropped", "call_duplicate_reply_dropped", "call_reply_for_other_client_never_delivered",
				"call_reply_to_strange_address",
			},
			replyToLatest,
		},
		{
			"heartbeat_without_address", "loses the reply address of a heartbeat",
			[]string{"call_cancel_reaches_handler"},
			onSend(func(_ *conn, to *messaging.Address, m *messaging.Message) {
				if to.Kind == messaging.KindReply {
					m.ReplyTo = ""
				}
			}),
		},
		{
			"heartbeat_after_reply", "sends every heartbeat once more, when the call is over",
			[]string{"heartbeat_stops_after_reply", "heartbeat_interval_bounds"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if beat, _ := m.Header("pb-heartbeat"); beat == "true" {
					again, at := copyOf(m), *to
					time.AfterFunc(450*time.Millisecond, func() { c.quietly(at, again) })
				}
			}),
		},
		{
			"reply_lost_when_stopping", "loses replies once its server has stopped",
			[]string{"drain_finishes_inflight", "drain_keeps_reply_path_open"},
			func() hooks {
				return hooks{
					stop: func(ctx context.Context, l *listener) (int, error) {
						l.w.count(l.server(), 1)
						return l.Listener.Stop(ctx)
					},
					leave: func(ctx context.Context, l *listener) error {
						l.w.count(l.server(), -1)
						return l.Listener.Close(ctx)
					},
					send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
						draining := map[string]string{`"done"`: "s", `"relayed"`: "front"}[string(m.Body)]
						if to.Kind == messaging.KindReply && draining != "" && c.w.count(draining, 0) > 0 {
							done.Complete(nil)
							return nil
						}
						return c.Conn.Send(ctx, to, m, done)
					},
				}
			},
		},
	}
}

// replyToLatest remembers the latest request of each reply address. It does so
// for the messages of one method, so that calls of others work.
func replyToLatest() hooks {
	var mu sync.Mutex
	latest := map[string]string{}
	return hooks{
		send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
			mu.Lock()
			if name, _ := m.Header("pb-method"); m.ReplyTo != "" && name == "record" {
				latest[m.ReplyTo] = m.CorrelationID
			} else {
				delete(latest, m.ReplyTo)
			}
			mu.Unlock()
			return c.Conn.Send(ctx, to, m, done)
		},
		deliver: func(l *listener, d *messaging.Delivery) {
			mu.Lock()
			defer mu.Unlock()
			if id, ok := latest[l.sub.Reply]; ok {
				d.CorrelationID = id
			}
		},
	}
}

func receiveMutants() []mutant {
	return []mutant{
		{
			"ignore_ctx_on_poll", "polls until something comes",
			[]string{"notify_batch_by_size_and_time", "poll_timeout_bounds", "poll_cancel_inflight"},
			func() hooks {
				return hooks{poll: func(ctx context.Context, l *listener) (*messaging.Delivery, error) {
					return l.next(context.WithoutCancel(ctx))
				}}
			},
		},
		{
			"refused_offer_lost", "loses a message that Deliver refuses after it took others",
			[]string{"call_to_busy_server_waits"},
			func() hooks {
				return hooks{offer: func(deliver func(*messaging.Delivery) bool) func(*messaging.Delivery) bool {
					var took atomic.Bool
					return func(d *messaging.Delivery) bool {
						if deliver(d) {
							took.Store(true)
						}
						return took.Load()
					}
				}}
			},
		},
		{
			"poll_cancel_loses", "loses a message whose poll is cancelled meanwhile",
			[]string{"poll_cancel_inflight"},
			func() hooks {
				return hooks{poll: func(ctx context.Context, l *listener) (*messaging.Delivery, error) {
					d, err := l.next(ctx)
					if err != nil {
						return nil, err
					}
					select {
					case <-time.After(100 * time.Microsecond):
						return d, nil
					case <-ctx.Done():
						_ = d.Settle(context.WithoutCancel(ctx), messaging.Ack)
						return nil, context.Cause(ctx)
					}
				}}
			},
		},
		{
			"lose_on_nack", "forgets messages that are given back",
			[]string{
				"notify_failed_batch_comes_again", "notify_requeued_comes_again",
				"nack_requeues", "nack_never_loops_hot", "delivery_count_known", "delay_not_early",
				"poison_to_dead_letter_after_n",
			},
			onSettle(instead(messaging.Requeue, messaging.Ack)),
		},
		{
			"hot_requeue", "brings back messages that were refused",
			[]string{"nack_never_loops_hot", "drop_is_kept_aside", "poison_to_dead_letter_after_n"},
			onSettle(instead(messaging.Drop, messaging.Requeue)),
		},
		{
			"drop_forgets", "forgets messages that were refused, yet declares dead letters",
			[]string{"drop_is_kept_aside", "poison_to_dead_letter_after_n"},
			onSettle(instead(messaging.Drop, messaging.Ack)),
		},
		{
			"redelivered_unmarked", "does not say that a message was delivered before",
			[]string{"notify_requeued_comes_again", "nack_requeues"},
			onDeliver(func(_ *listener, d *messaging.Delivery) { d.Redelivered = false }),
		},
		{
			"count_stuck", "counts every delivery as the first",
			[]string{"delivery_count_known"},
			onDeliver(func(_ *listener, d *messaging.Delivery) { d.Count = 0 }),
		},
		{
			"ack_lost_on_close", "loses acknowledgements that it has not written when it closes",
			[]string{"ack_once"},
			ackLostOnClose,
		},
		{
			"settle_after_loss_ok", "says that it settled a message whose connection is gone",
			[]string{"ack_after_connection_loss_typed"},
			func() hooks {
				return hooks{settle: func(ctx context.Context, s *settler, o messaging.Outcome) error {
					_ = s.inner.Settle(ctx, o)
					return nil
				}}
			},
		},
		{
			"ack_on_delivery", "acknowledges messages as it delivers them",
			[]string{
				"notify_acknowledged_after_handling", "notify_failed_batch_comes_again", "notify_requeued_comes_again",
				"prefetch_bounds_unacked", "nack_requeues", "nack_never_loops_hot", "delivery_count_known",
				"drop_is_kept_aside", "priority_order", "ttl_expires", "ack_after_connection_loss_typed",
				"delay_not_early", "poison_to_dead_letter_after_n", "running_redelivery_is_held",
			},
			func() hooks {
				return hooks{
					poll: func(ctx context.Context, l *listener) (*messaging.Delivery, error) {
						d, err := l.Listener.Poll(ctx)
						if err != nil {
							return nil, err
						}
						if err := d.Settle(ctx, messaging.Ack); err != nil {
							return nil, err
						}
						outer := messaging.NewDelivery(d.Message, nil)
						outer.Source, outer.Redelivered, outer.Count = d.Source, d.Redelivered, d.Count
						return outer, nil
					},
				}
			},
		},
		{
			"prefetch_ignored", "takes as many messages as there are",
			[]string{"prefetch_bounds_unacked", "backpressure_bounds_memory", "ttl_expires", "priority_order"},
			func() hooks {
				return hooks{listen: func(sub *messaging.Subscription) { sub.Prefetch = 1 << 20 }}
			},
		},
	}
}

// ackLostOnClose writes acknowledgements of a topic's server a moment later,
// and never if the listener was closed meanwhile.
func ackLostOnClose() hooks {
	var mu sync.Mutex
	closed := map[*listener]bool{}
	return hooks{
		settle: func(ctx context.Context, s *settler, o messaging.Outcome) error {
			if o != messaging.Ack || !strings.HasSuffix(string(s.inner.Body), `"by name"}`) {
				return s.inner.Settle(ctx, o)
			}
			time.AfterFunc(time.Millisecond, func() {
				mu.Lock()
				defer mu.Unlock()
				if !closed[s.l] {
					_ = s.inner.Settle(context.WithoutCancel(ctx), o)
				}
			})
			return nil
		},
		leave: func(ctx context.Context, l *listener) error {
			mu.Lock()
			closed[l] = true
			mu.Unlock()
			return l.Listener.Close(ctx)
		},
	}
}

func stopMutants() []mutant {
	return []mutant{
		{
			"drain_drops_prefetched", "forgets what was prefetched when it stops",
			[]string{"notify_acknowledged_after_handling", "drain_prefetched_go_back_not_dead_lettered"},
			stopsWith(func(*listener, *messaging.Delivery) messaging.Outcome { return messaging.Ack }),
		},
		{
			"prefetched_dead_lettered", "drops a message that went back twenty times unhandled",
			[]string{"drain_prefetched_go_back_not_dead_lettered"},
			stopsWith(func(l *listener, d *messaging.Delivery) messaging.Outcome {
				if l.w.count(d.ID, 1) > 20 {
					return messaging.Drop
				}
				return messaging.Requeue
			}),
		},
		{
			"stop_takes_what_is_in_hand", "gives back what is in hand when it stops, too",
			[]string{
				"stop_then_no_more_deliveries", "drain_prefetched_go_back_not_dead_lettered", "nack_requeues",
				"running_redelivery_is_held", "notify_waits_for_listener",
			},
			func() hooks {
				return hooks{settle: func(ctx context.Context, s *settler, o messaging.Outcome) error {
					s.l.mu.Lock()
					stopped := s.l.count > 0
					s.l.mu.Unlock()
					if stopped {
						_ = s.inner.Settle(ctx, messaging.Requeue)
						return messaging.ErrClosed
					}
					return s.inner.Settle(ctx, o)
				}, stop: func(ctx context.Context, l *listener) (int, error) {
					l.mu.Lock()
					l.count++
					l.mu.Unlock()
					return l.Listener.Stop(ctx)
				}}
			},
		},
	}
}

// stopsWith makes a mutant that settles what was prefetched when it stops.
func stopsWith(outcome func(*listener, *messaging.Delivery) messaging.Outcome) func() hooks {
	return func() hooks {
		return hooks{deliver: func(l *listener, _ *messaging.Delivery) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.count++
		}, stop: func(ctx context.Context, l *listener) (int, error) {
			l.mu.Lock()
			used := l.count > 0
			l.mu.Unlock()
			if !used {
				return l.Listener.Stop(ctx)
			}
			now, cancel := context.WithTimeout(ctx, time.Microsecond)
			defer cancel()
			var prefetched []*messaging.Delivery
			for {
				d, err := l.Listener.Poll(now)
				if err != nil {
					break
				}
				prefetched = append(prefetched, d)
			}
			_, err := l.Listener.Stop(ctx)
			for _, d := range prefetched {
				_ = d.Settle(ctx, outcome(l, d))
			}
			return len(prefetched), err
		}}
	}
}
