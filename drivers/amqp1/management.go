package amqp1

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/Azure/go-amqp"
)

// management declares, binds and deletes over RabbitMQ's management node: HTTP's
// methods and paths, in messages of a pair of links. One at a time; a refusal
// may end the session, and the next request opens another.
type management struct {
	c      *conn
	turn   chan struct{} // whose it is uses the following
	within *amqp.Session
	to     *amqp.Sender // nil: not attached
	from   *amqp.Receiver
	id     uint64
}

var _ declarer = (*management)(nil)

const (
	managementNode = "/management"
	managementLink = "management"
	bindingSource  = "amq.direct"
)

func newManagement(c *conn) *management {
	return &management{c: c, turn: make(chan struct{}, 1)}
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

// remove deletes a queue.
func (t *management) remove(name string) error {
	return t.do("DELETE", "/queues/"+url.PathEscape(name), amqp.Null{}, "200", "204", "404")
}

// do makes one request, and one more over new links if the old ones ended.
func (t *management) do(method, path string, body any, want ...string) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-t.c.Done():
		return t.c.Lost()
	}
	var err error
	for range 3 {
		if err = t.attach(); err != nil {
			return err
		}
		var status, said string
		err = t.c.Answer("a request to the management node", func() (err error) {
			status, said, err = t.request(method, path, body)
			return err
		})
		if err == nil {
			for _, w := range want {
				if status == w {
					return nil
				}
			}
			return &statusError{method + " " + path, status, said}
		}
		t.to, t.from = nil, nil
		t.c.retire(t.within.Close) // it may have lost its links only
		if t.c.Lost() != nil {
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
	session, err := t.c.newSession()
	if err != nil {
		return err
	}
	paired := map[string]any{"paired": true}
	from, err := t.c.newReceiver(session, managementNode, &amqp.ReceiverOptions{
		Name: managementLink, Properties: paired, TargetAddress: managementNode, Credit: 16,
		RequestedSenderSettleMode: amqp.SenderSettleModeSettled.Ptr(),
	})
	if err != nil {
		t.c.retire(session.Close)
		return err
	}
	to, err := t.c.newSender(session, managementNode, &amqp.SenderOptions{
		Name: managementLink, Properties: paired, SourceAddress: managementNode,
		SettlementMode: amqp.SenderSettleModeSettled.Ptr(),
	})
	if err != nil {
		t.c.retire(session.Close)
		return err
	}
	t.within, t.to, t.from = session, to, from
	return nil
}

func (t *management) request(method, path string, body any) (status, said string, err error) {
	t.id++
	id, me := strconv.FormatUint(t.id, 10), "$me"
	err = t.to.Send(t.c.Context(), &amqp.Message{
		Properties: &amqp.MessageProperties{MessageID: id, To: &path, Subject: &method, ReplyTo: &me},
		Value:      body,
	}, nil)
	if err != nil {
		return "", "", err
	}
	for {
		m, err := t.from.Receive(t.c.Context(), nil)
		if err != nil {
			return "", "", err
		}
		if err := t.from.AcceptMessage(t.c.Context(), m); err != nil {
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
