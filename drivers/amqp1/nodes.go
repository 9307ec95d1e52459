package amqp1

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/patchbay-go/patchbay/messaging"
)

// declarer makes and deletes queues where a broker does not do that by itself.
type declarer interface {
	// declare makes a queue with its bindings, if it is not there.
	declare(q *queue) error

	// remove deletes a queue, if it is there.
	remove(name string) error
}

// nodes are the queues that a connection declares.
type nodes struct {
	declarer
	c *conn

	mu       sync.Mutex // protects declared
	declared map[string]bool
}

func newNodes(c *conn, d declarer) *nodes {
	return &nodes{declarer: d, c: c, declared: map[string]bool{}}
}

// maxDeclared bounds what is remembered: a process that makes up topics must
// not grow for ever.
const maxDeclared = 4096

// ensure is declare, once.
func (n *nodes) ensure(ctx context.Context, q *queue) error {
	n.mu.Lock()
	known := n.declared[q.name]
	n.mu.Unlock()
	if known {
		return nil
	}
	return n.c.Await(ctx, func() error {
		if err := n.declare(q); err != nil {
			return err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.declared) >= maxDeclared {
			clear(n.declared)
		}
		n.declared[q.name] = true
		return nil
	})
}

// forget makes ensure declare a queue again.
func (n *nodes) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.declared, name)
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
	case "400", "405", "422":
		return joined(messaging.ErrPermanent, err)
	}
	return err
}
