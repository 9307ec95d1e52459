package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

type nextDial = func(context.Context) (messaging.Conn, error)

// onDial makes a mutant of a func that changes how a dial fails.
func onDial(fail func(ctx context.Context, w *world, ep messaging.Endpoint, err error) error) func() hooks {
	return func() hooks {
		return hooks{dial: func(ctx context.Context, w *world, ep messaging.Endpoint, next nextDial) (messaging.Conn, error) {
			c, err := next(ctx)
			if err != nil {
				err = fail(ctx, w, ep, err)
			}
			return c, err
		}}
	}
}

// hang waits without a context, as a library does that has none.
func (w *world) hang(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.end:
	}
}

func openMutants() []mutant {
	return []mutant{
		{
			"bad_option_ignored", "opens URLs with options that it does not know",
			[]string{"open_bad_url"},
			func() hooks { return hooks{open: func(u *messaging.URL) { u.Query = nil }} },
		},
		{
			"ignore_ctx_on_dial", "dials a host that is down for longer than its context lives",
			[]string{"open_unreachable_respects_deadline", "failover_second_host"},
			onDial(func(_ context.Context, w *world, ep messaging.Endpoint, err error) error {
				if ep.Host.Host == "down" {
					w.hang(20 * time.Second)
				}
				return err
			}),
		},
		{
			"unreachable_is_permanent", "gives up at once when a host is down",
			[]string{"open_unreachable_respects_deadline"},
			onDial(func(_ context.Context, _ *world, ep messaging.Endpoint, err error) error {
				if ep.Host.Host == "down" {
					err = fmt.Errorf("%w: %w", err, messaging.ErrPermanent)
				}
				return err
			}),
		},
		{
			"hang_while_refused", "dials a peer that refuses connections for longer than its context lives",
			[]string{"stop_during_reconnect", "initial_connect_broker_down_then_up"},
			onDial(func(_ context.Context, w *world, ep messaging.Endpoint, err error) error {
				if ep.Host.Host == "up" && !errors.Is(err, messaging.ErrAuth) {
					w.hang(20 * time.Second)
				}
				return err
			}),
		},
		{
			"auth_untyped", "reports a wrong password as a connection that failed",
			[]string{"open_auth_failure_is_typed"},
			onDial(func(_ context.Context, _ *world, _ messaging.Endpoint, err error) error {
				if errors.Is(err, messaging.ErrAuth) {
					err = fmt.Errorf("%w: access refused", messaging.ErrConnect)
				}
				return err
			}),
		},
		{
			"secret_in_error", "says which password was wrong",
			[]string{"no_secret_in_errors_or_logs"},
			onDial(func(ctx context.Context, _ *world, ep messaging.Endpoint, err error) error {
				if c, cerr := ep.Credentials(ctx); cerr == nil && errors.Is(err, messaging.ErrAuth) {
					err = fmt.Errorf("%w: %s and %s do not match", err, c.Username, c.Password)
				}
				return err
			}),
		},
		{
			"capabilities_flip", "has another limit on every connection",
			[]string{"open_ok"},
			func() hooks {
				return hooks{dial: func(ctx context.Context, w *world, _ messaging.Endpoint, next nextDial) (messaging.Conn, error) {
					c, err := next(ctx)
					if err != nil {
						return nil, err
					}
					return limited{c, int64(w.count("dials", 1))}, nil
				}}
			},
		},
		{
			"leak_goroutine_per_dial", "leaves a goroutine behind for every connection",
			[]string{"no_goroutine_fd_timer_leak"},
			func() hooks {
				return hooks{dial: func(ctx context.Context, w *world, _ messaging.Endpoint, next nextDial) (messaging.Conn, error) {
					go func() { <-w.end }()
					return next(ctx)
				}}
			},
		},
		{
			"closes_neighbour", "takes another connection along when it closes one for listening",
			[]string{"open_twice_independent"},
			closesNeighbour,
		},
		{
			"facts_hidden", "does not declare what it can do",
			[]string{"notify_waits_for_listener", "exchange_isolation", "cast_before_consumer", "delivery_count_known", "reply_address_survives"},
			func() hooks {
				return hooks{caps: func(c *messaging.Capabilities) {
					c.Exchanges, c.OfflineCast, c.DeliveryCount, c.StableReply = false, false, false, false
				}}
			},
		},
	}
}

// limited is a connection with another limit.
type limited struct {
	messaging.Conn
	less int64
}

func (l limited) Capabilities() messaging.Capabilities {
	c := l.Conn.Capabilities()
	c.MaxMessage -= l.less
	return c
}

// closesNeighbour ends the connection of another listener when one that has
// received something is closed.
func closesNeighbour() hooks {
	return hooks{leave: func(ctx context.Context, l *listener) error {
		if others := l.w.servers(""); len(others) == 1 && l.server() == "one" && others[0].server() == "two" {
			others[0].conn.cut(ctx)
		}
		return l.Listener.Close(ctx)
	}}
}
