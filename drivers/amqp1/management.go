package amqp1

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// management declares, binds and deletes over RabbitMQ's management node: HTTP's
// methods and paths, in messages of a pair of links. One at a time; a refusal
// may end the session, and the next request opens another.
type management struct {
	c    *conn
	turn chan struct{} // whose it is uses the following
	to   *amqp.Sender  // nil: not attached
	from *amqp.Receiver
	id   uint64

	mu       sync.Mutex // protects declared
	declared map[string]bool
}

// maxDeclared bounds what is remembered: a process that makes up topics must
// not grow for ever.
const maxDeclared = 4096

const (
	managementNode = "/management"
	managementLink = "management"
	bindingSource  = "amq.direct"
)

func newManagement(c *conn) *management {
	return &management{c: c, turn: make(chan struct{}, 1), declared: map[string]bool{}}
}

// declare makes a queue with its bindings.
func (t *management) declare(q *queue) error {
	arguments := map[string]any{"x-queue-type": "classic"}
	if q.private && t.c.o.transientTTL > 0 {
		arguments["x-expires"] = uint64(t.c.o.transientTTL.Milliseconds())
	}
	err := t.do("PUT", "/queues/"+url.PathEscape(q.name), map[string]any{
		"durable": true, "exclusive": false, "auto_delete": false, "arguments": arguments,
	}, "200", "201", "204")
	if err != nil {
		return explainQueue(q.name, err)
	}
	for _, key := range q.bindings {
		err := t.do("POST", "/bindings", map[string]any{
			"source": bindingSource, "destination_queue": q.name, "binding_key": key, "arguments": map[string]any{},
		}, "204", "201", "200")
		if err != nil {
			return err
		}
	}
	return nil
}

// ensure is declare, once.
func (t *management) ensure(ctx context.Context, q *queue) error {
	t.mu.Lock()
	known := t.declared[q.name]
	t.mu.Unlock()
	if known {
		return nil
	}
	return t.c.await(ctx, func() error {
		if err := t.declare(q); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if len(t.declared) >= maxDeclared {
			clear(t.declared)
		}
		t.declared[q.name] = true
		return nil
	})
}

// remove deletes a queue.
func (t *management) remove(name string) error {
	return t.do("DELETE", "/queues/"+url.PathEscape(name), amqp.Null{}, "200", "204", "404")
}

// statusError is an answer that was not hoped for.
type statusError struct {
	request string
	status  string
	said    string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: %s %s", e.request, e.status, e.said)
}

// do makes one request, and one more over new links if the old ones ended.
func (t *management) do(method, path string, body any, want ...string) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-t.c.done:
		return t.c.lost()
	}
	var err error
	for range 3 {
		if err = t.attach(); err != nil {
			return err
		}
		var status, said string
		if status, said, err = t.request(method, path, body); err == nil {
			for _, w := range want {
				if status == w {
					return nil
				}
			}
			return &statusError{method + " " + path, status, said}
		}
		t.to, t.from = nil, nil
		if t.c.lost() != nil {
			break
		}
	}
	return err
}

// attach opens the pair of links. The broker ends the session if a request comes
// before the credit for its answer: so the receiver, whose credit goes out by
// itself, is attached first.
func (t *management) attach() error {
	if t.to != nil {
		return nil
	}
	session, err := t.c.amqp.NewSession(t.c.life, nil)
	if err != nil {
		return err
	}
	paired := map[string]any{"paired": true}
	from, err := session.NewReceiver(t.c.life, managementNode, &amqp.ReceiverOptions{
		Name: managementLink, Properties: paired, TargetAddress: managementNode, Credit: 16,
		RequestedSenderSettleMode: amqp.SenderSettleModeSettled.Ptr(),
	})
	if err != nil {
		return err
	}
	to, err := session.NewSender(t.c.life, managementNode, &amqp.SenderOptions{
		Name: managementLink, Properties: paired, SourceAddress: managementNode,
		SettlementMode: amqp.SenderSettleModeSettled.Ptr(),
	})
	if err != nil {
		return err
	}
	t.to, t.from = to, from
	return nil
}

func (t *management) request(method, path string, body any) (status, said string, err error) {
	t.id++
	id, me := strconv.FormatUint(t.id, 10), "$me"
	err = t.to.Send(t.c.life, &amqp.Message{
		Properties: &amqp.MessageProperties{MessageID: id, To: &path, Subject: &method, ReplyTo: &me},
		Value:      body,
	}, nil)
	if err != nil {
		return "", "", err
	}
	for {
		m, err := t.from.Receive(t.c.life, nil)
		if err != nil {
			return "", "", err
		}
		if err := t.from.AcceptMessage(t.c.life, m); err != nil {
			return "", "", err
		}
		if m.Properties == nil || m.Properties.CorrelationID != any(id) {
			continue // the answer to a request before, whose link ended
		}
		if m.Properties.Subject != nil {
			status = *m.Properties.Subject
		}
		said, _ = m.Value.(string)
		return status, said, nil
	}
}

// explainQueue makes a typed error of a queue that is there in another form.
func explainQueue(name string, err error) error {
	var e *statusError
	if !errors.As(err, &e) {
		return err
	}
	switch e.status {
	case "409":
		return &messaging.PreconditionError{Entity: "queue", Name: name, Argument: argument(e.said), Reason: e.said}
	case "401", "403":
		return joined(messaging.ErrAuth, joined(messaging.ErrPermanent, err))
	case "400", "405":
		return joined(messaging.ErrPermanent, err)
	}
	return err
}

// argument finds in RabbitMQ's words which one differs:
//
//	inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'
func argument(said string) string {
	_, rest, ok := strings.Cut(said, "inequivalent arg '")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "'")
	return name
}
