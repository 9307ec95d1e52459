package conformance_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

func mutants() []mutant {
	var all []mutant
	for _, some := range [][]mutant{
		openMutants(), routeMutants(), fanoutMutants(), optionMutants(), payloadMutants(),
		replyMutants(), receiveMutants(), stopMutants(), linkMutants(), notifyMutants(),
	} {
		all = append(all, some...)
	}
	return all
}

// onSend makes a mutant of a func that may change address and message.
func onSend(change func(c *conn, to *messaging.Address, m *messaging.Message)) func() hooks {
	return func() hooks {
		return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
			change(c, &to, m)
			return c.Conn.Send(ctx, to, m, done)
		}}
	}
}

// quietly is for sends that a mutant adds: nobody is told.
func (c *conn) quietly(to messaging.Address, m *messaging.Message) {
	_ = c.Conn.Send(context.Background(), to, m, nil)
}

// one returns the address of one server of a topic.
func named(a messaging.Address, server string) messaging.Address {
	a.Server, a.Fanout = server, false
	return a
}

func routeMutants() []mutant {
	return []mutant{
		{
			"broadcast_cast", "gives what was sent to a topic to a second of three servers too",
			[]string{"cast_exactly_one_of_n", "cast_100k_concurrent_senders"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if s := c.w.servers(to.Topic); isAny(*to) && len(s) == 3 {
					c.quietly(named(*to, s[c.w.count(to.Topic, 1)%3].server()), m)
				}
			}),
		},
		{
			"drop_every_500th", "accepts and loses every 500th message of a topic",
			[]string{"cast_100k_concurrent_senders"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if isAny(to) && len(c.w.servers(to.Topic)) == 3 && c.w.count(to.Topic, 1)%500 == 0 {
						done.Complete(nil)
						return nil
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"dup_every_500th", "sends every 500th message of a topic twice",
			[]string{"cast_100k_concurrent_senders"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if isAny(*to) && len(c.w.servers(to.Topic)) == 3 && c.w.count(to.Topic, 1)%500 == 0 {
					c.quietly(*to, m)
				}
			}),
		},
		{
			"sticky", "gives all messages of a topic to the same one of three servers",
			[]string{"cast_spread_not_starved"},
			onSend(func(c *conn, to *messaging.Address, _ *messaging.Message) {
				if s := c.w.servers(to.Topic); isAny(*to) && len(s) == 3 {
					*to = named(*to, s[0].server())
				}
			}),
		},
		{
			"swap_pairs", "overtakes every tenth message of an order key with the next",
			[]string{"cast_order_per_sender"},
			swapPairs,
		},
		{
			"named_to_neighbour", "gives a message for one of three servers to another too",
			[]string{"cast_to_named_server_only"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if s := c.w.servers(to.Topic); isNamed(*to) && len(s) == 3 && !strings.Contains(string(m.Body), "fence") {
					for _, other := range s {
						if other.server() != to.Server {
							c.quietly(named(*to, other.server()), m)
							break
						}
					}
				}
			}),
		},
		{
			"named_falls_back", "gives a message for a server that is absent to the topic",
			[]string{"cast_named_server_absent_no_fallback"},
			onSend(func(c *conn, to *messaging.Address, m *messaging.Message) {
				if !isNamed(*to) || m.Mandatory {
					return
				}
				for _, s := range c.w.servers(to.Topic) {
					if s.server() == to.Server {
						return
					}
				}
				to.Server = ""
			}),
		},
		{
			"nil_on_no_peer", "accepts mandatory messages to nobody",
			[]string{"cast_no_consumer_mandatory", "call_no_responders_fast", "mandatory_unroutable_typed"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) { m.Mandatory = false }),
		},
		{
			"queue_dies_with_server", "loses what is sent to a topic whose only server left",
			[]string{"cast_before_consumer", "durable_survives_restart", "cut_between_write_and_confirm"},
			func() hooks {
				return hooks{
					leave: func(ctx context.Context, l *listener) error {
						if len(l.sub.Sources) > 0 {
							l.w.count("left "+l.sub.Sources[0].Topic, 1)
						}
						return l.Listener.Close(ctx)
					},
					send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
						if isAny(to) && !m.Mandatory && len(c.w.servers(to.Topic)) == 0 && c.w.count("left "+to.Topic, 0) > 0 {
							done.Complete(nil)
							return nil
						}
						return c.Conn.Send(ctx, to, m, done)
					},
				}
			},
		},
		{
			"late_bind", "says that a server is ready before messages by name reach it",
			[]string{"ready_means_routable"},
			lateBind,
		},
		{
			"topics_ignore_case", "routes topics by their lower case",
			[]string{"topic_isolation"},
			func() hooks {
				h := onSend(func(_ *conn, to *messaging.Address, _ *messaging.Message) { to.Topic = strings.ToLower(to.Topic) })()
				h.listen = func(sub *messaging.Subscription) {
					sub.Sources = append([]messaging.Address(nil), sub.Sources...)
					for i := range sub.Sources {
						sub.Sources[i].Topic = strings.ToLower(sub.Sources[i].Topic)
					}
				}
				return h
			},
		},
		{
			"no_local", "does not deliver what a transport sends to a server of its own",
			[]string{"call_to_self", "call_nested_same_server_no_deadlock", "open_twice_independent"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					for _, s := range c.w.servers(to.Topic) {
						if s.conn.driver == c.driver && (isAny(to) || isNamed(to)) {
							done.Complete(nil)
							return nil
						}
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"ignore_ctx_on_publish", "sends for longer than its context lives",
			[]string{"call_timeout_both_bounds"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if name, _ := m.Header("pb-method"); name == "block" && c.w.count("blocked", 1) <= 2 {
						defer c.w.hang(5 * time.Second)
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"outcome_forgotten", "never tells the outcome of calls that are not answered",
			[]string{"call_timeout_leaves_no_state"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if name, _ := m.Header("pb-method"); name == "block" {
						done = nil
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"exchange_ignored", "routes without the exchange, yet declares exchanges",
			[]string{"exchange_isolation"},
			func() hooks {
				h := onSend(func(_ *conn, to *messaging.Address, _ *messaging.Message) { to.Exchange = "" })()
				h.listen = func(sub *messaging.Subscription) {
					sub.Sources = append([]messaging.Address(nil), sub.Sources...)
					for i := range sub.Sources {
						sub.Sources[i].Exchange = ""
					}
				}
				return h
			},
		},
		{
			"names_unescaped", "decodes percent escapes in topics when it sends",
			[]string{"names_with_dots_slashes_unicode"},
			onSend(func(_ *conn, to *messaging.Address, _ *messaging.Message) {
				if topic, err := url.PathUnescape(to.Topic); err == nil {
					to.Topic = topic
				}
			}),
		},
		{
			"names_as_patterns", "gives a server that is called * what is sent to the others",
			[]string{"names_with_dots_slashes_unicode"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if to.Server != "" && to.Server != "*" {
						all, also := to, copyOf(m)
						all.Server, also.Mandatory = "*", false
						_ = c.Conn.Send(ctx, all, also, nil)
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"names_cut", "cuts topics to 150 bytes when it sends",
			[]string{"name_too_long_typed"},
			onSend(func(_ *conn, to *messaging.Address, _ *messaging.Message) {
				to.Topic = to.Topic[:min(150, len(to.Topic))]
			}),
		},
		{
			"confirm_too_early", "accepts messages before the peer has them, and loses them on Close",
			[]string{"close_while_publishing", "confirm_means_accepted"},
			confirmTooEarly,
		},
	}
}

// swapPairs holds back message 5 of each 10 of an order key until the next.
func swapPairs() hooks {
	type held struct {
		to   messaging.Address
		m    *messaging.Message
		done messaging.Completion
	}
	var mu sync.Mutex
	waiting := map[string]held{}
	return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
		if m.OrderKey == "" {
			return c.Conn.Send(ctx, to, m, done)
		}
		mu.Lock()
		defer mu.Unlock()
		n := c.w.count(m.OrderKey, 1)
		if n%10 == 5 {
			waiting[m.OrderKey] = held{to, copyOf(m), done}
			return nil
		}
		err := c.Conn.Send(ctx, to, m, done)
		if h, ok := waiting[m.OrderKey]; ok && n%10 == 6 {
			delete(waiting, m.OrderKey)
			if c.Conn.Send(ctx, h.to, h.m, h.done) != nil {
				h.done.Complete(messaging.ErrOutcomeUnknown)
			}
		}
		return err
	}}
}

// lateBind loses messages by name within a moment of the fifth server of a
// topic being ready, and of every later one.
func lateBind() hooks {
	var mu sync.Mutex
	since := map[string]map[string]time.Time{} // topic, server
	return hooks{
		listen: func(sub *messaging.Subscription) {
			if len(sub.Sources) < 2 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			a := sub.Sources[1]
			if since[a.Topic] == nil {
				since[a.Topic] = map[string]time.Time{}
			}
			since[a.Topic][a.Server] = time.Now()
		},
		send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
			mu.Lock()
			servers := since[to.Topic]
			ready := servers[to.Server]
			late := isNamed(to) && len(servers) >= 5 && time.Since(ready) < time.Millisecond
			mu.Unlock()
			if late {
				done.Complete(messaging.ErrNoRoute)
				return nil
			}
			return c.Conn.Send(ctx, to, m, done)
		},
	}
}

// confirmTooEarly sends from a goroutine, a moment after it said that it did.
func confirmTooEarly() hooks {
	type queued struct {
		to messaging.Address
		m  *messaging.Message
	}
	var mu sync.Mutex
	queues := map[*conn]chan queued{}
	return hooks{
		send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
			if !isAny(to) || !strings.Contains(string(m.Body), `"sender`) && !strings.Contains(string(m.Body), `"round`) {
				return c.Conn.Send(ctx, to, m, done)
			}
			mu.Lock()
			q, ok := queues[c]
			if ok && q == nil {
				mu.Unlock()
				return messaging.ErrNotSent
			}
			if !ok {
				q = make(chan queued, 1<<16)
				queues[c] = q
				go func() {
					for next := range q {
						<-time.After(time.Microsecond)
						c.quietly(next.to, next.m)
					}
				}()
			}
			q <- queued{to, copyOf(m)}
			mu.Unlock()
			done.Complete(nil)
			return nil
		},
		close: func(ctx context.Context, c *conn) error {
			mu.Lock()
			q := queues[c]
			queues[c] = nil
			if q != nil {
				close(q)
				for range q { // lost
				}
			}
			mu.Unlock()
			return c.Conn.Close(ctx)
		},
	}
}
