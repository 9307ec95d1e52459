package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// linkMutants do wrong what is to be done when the link breaks.
func linkMutants() []mutant {
	return []mutant{
		{
			"deaf_to_silence", "does not notice that nothing comes from its peer any more",
			[]string{"blackhole_detected_by_heartbeat"},
			func() hooks {
				return hooks{dial: func(ctx context.Context, _ *world, _ messaging.Endpoint, next nextDial) (messaging.Conn, error) {
					c, err := next(ctx)
					if err != nil {
						return nil, err
					}
					d := &deaf{Conn: c, done: make(chan struct{})}
					go d.watch()
					return d, nil
				}}
			},
		},
		{
			"first_after_loss", "accepts and loses the first message by name after an idle connection was lost",
			[]string{"cut_idle"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if isNamed(to) && bytes.Contains(m.Body, []byte(`"named/0"`)) {
						done.Complete(nil)
						return nil
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"lossy_under_cuts", "accepts and loses every 20th message while connections die",
			[]string{"cut_during_publish"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if bytes.Contains(m.Body, []byte("under cuts")) && c.w.count("under cuts", 1)%20 == 0 {
						done.Complete(nil)
						return nil
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"ignore_ctx_while_blocked", "sends for longer than its context lives while its peer takes nothing",
			[]string{"blocked_publisher_respects_ctx"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					err := c.Conn.Send(ctx, to, m, done)
					if err != nil && bytes.Contains(m.Body, []byte("blocked/")) {
						c.w.hang(5 * time.Second)
					}
					return err
				}}
			},
		},
		{
			"first_host_only", "does not reach the second host of a URL",
			[]string{"failover_second_host"},
			func() hooks {
				return hooks{dial: func(ctx context.Context, _ *world, ep messaging.Endpoint, next nextDial) (messaging.Conn, error) {
					if ep.Host.Host == "second" {
						return nil, fmt.Errorf("%w: there is no other host", messaging.ErrConnect)
					}
					return next(ctx)
				}}
			},
		},
		{
			"unknown_is_accepted", "accepts messages whose answer is lost",
			[]string{"cut_between_write_and_confirm"},
			onOutcome("answer lost", func(error) error { return nil }),
		},
		{
			"unknown_is_not_sent", "says that a message was not sent when only its answer is lost",
			[]string{"cut_between_write_and_confirm"},
			onOutcome("answer lost", func(error) error { return messaging.ErrNotSent }),
		},
		{
			"unroutable_to_neighbour", "tells a send that the one before it was unroutable",
			[]string{"mandatory_unroutable_typed"},
			onOutcome("routable/", func(error) error { return messaging.ErrNoRoute }),
		},
		{
			"recover_publish_not_fanout", "does not listen to fanouts again after a lost connection",
			[]string{"listener_alive_after_recovery"},
			recoverDeaf,
		},
		{
			"new_id_when_redelivered", "gives a message another id when it comes again",
			[]string{"running_redelivery_is_held"},
			onDeliver(func(_ *listener, d *messaging.Delivery) {
				if d.Redelivered && bytes.Contains(d.Body, []byte(`"slow"`)) {
					d.ID += "-again"
				}
			}),
		},
		{
			"reply_lost_after_cut", "loses the replies to calls that were made over a connection since lost",
			[]string{"cut_during_call_reply_survives_or_typed"},
			onSend(func(_ *conn, to *messaging.Address, m *messaging.Message) {
				if to.Kind == messaging.KindReply && bytes.Contains(m.Body, []byte(`"call/`)) {
					to.Direct += "-old"
				}
			}),
		},
		{
			"broken_by_reply_address", "loses its connection over a reply address that is not one of its own making",
			[]string{"call_reply_to_strange_address"},
			func() hooks {
				return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
					if to.Kind == messaging.KindReply && strings.HasPrefix(to.Direct, "amq.rabbitmq.reply-to.") {
						err := c.Conn.Close(ctx)
						done.Complete(fmt.Errorf("%w: %w", messaging.ErrOutcomeUnknown, messaging.ErrConnLost))
						return err
					}
					return c.Conn.Send(ctx, to, m, done)
				}}
			},
		},
		{
			"password_in_log", "says with which password it was connected when a connection is lost",
			[]string{"no_secret_in_errors_or_logs"},
			passwordInLog,
		},
	}
}

// deaf is a connection whose end is not noticed once something was swallowed.
type deaf struct {
	messaging.Conn
	done      chan struct{}
	swallowed bool // written before the connection ends
}

func (d *deaf) watch() {
	<-d.Conn.Done()
	if !d.swallowed {
		close(d.done)
	}
}

func (d *deaf) Done() <-chan struct{} { return d.done }

func (d *deaf) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if bytes.Contains(m.Body, []byte("swallowed")) {
		d.swallowed = true
	}
	return d.Conn.Send(ctx, to, m, done)
}

// onOutcome makes a mutant that changes outcomes of the messages in whose body a
// text is: errors or, for ErrNoRoute, every eighth acceptance.
func onOutcome(text string, change func(error) error) func() hooks {
	return func() hooks {
		return hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
			if bytes.Contains(m.Body, []byte(text)) && done != nil {
				done = &changed{done, c.w, change}
			}
			return c.Conn.Send(ctx, to, m, done)
		}}
	}
}

type changed struct {
	messaging.Completion
	w      *world
	change func(error) error
}

func (c *changed) Complete(err error) {
	switch {
	case errors.Is(err, messaging.ErrOutcomeUnknown):
		err = c.change(err)
	case err == nil && errors.Is(c.change(nil), messaging.ErrNoRoute) && c.w.count("outcomes", 1)%8 == 0:
		err = messaging.ErrNoRoute
	}
	c.Completion.Complete(err)
}

// recoverDeaf leaves fanouts out of the second subscription of an instance.
func recoverDeaf() hooks {
	seen := make(chan map[string]bool, 1)
	seen <- map[string]bool{}
	return hooks{listen: func(sub *messaging.Subscription) {
		if len(sub.Sources) < 3 {
			return
		}
		instances := <-seen
		defer func() { seen <- instances }()
		if instances[sub.Instance] {
			sub.Sources = append([]messaging.Address(nil), sub.Sources...)
			sub.Sources[2].Topic += "-forgotten"
		}
		instances[sub.Instance] = true
	}}
}

// leaky is a connection that keeps its password in the reason of its end.
type leaky struct {
	messaging.Conn
	password string
}

func (l leaky) Err() error {
	err := l.Conn.Err()
	if err != nil {
		err = fmt.Errorf("%w: logged in with %s", err, l.password)
	}
	return err
}

func passwordInLog() hooks {
	return hooks{dial: func(ctx context.Context, _ *world, ep messaging.Endpoint, next nextDial) (messaging.Conn, error) {
		c, err := next(ctx)
		if err != nil {
			return nil, err
		}
		login, err := ep.Credentials(ctx)
		return leaky{c, login.Password}, err
	}}
}
