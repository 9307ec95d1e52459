package zmq

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// outcomeOf is a completion.
type outcomeOf chan error

func (o outcomeOf) Complete(err error) { o <- err }

// unlinked returns the sending half of a node that has no link yet.
func unlinked(t *testing.T) *client {
	t.Helper()
	c := &conn{o: &options{}, window: 8, life: t.Context(), log: slog.New(slog.DiscardHandler), byID: map[uint64]linkRef{}}
	cl := newClient(c)
	cl.on = true
	return cl
}

// linked returns our end of a link.
func linked(t *testing.T) *link.Link {
	t.Helper()
	ours, theirs := link.Pipe(t.Context(), link.Options{WriteTimeout: time.Minute})
	t.Cleanup(func() {
		ours.Abort(errLeaving)
		theirs.Abort(errLeaving)
	})
	return ours
}

// TestTwoWaysToOneNode: a second endpoint of a node is linked to just when the link to the
// first is known to be broken and has not ended yet. What was sent over it has an outcome.
func TestTwoWaysToOneNode(t *testing.T) {
	ctx := t.Context()
	cl := unlinked(t)
	to := messaging.Address{Topic: "work"}
	hello := &proto.HelloBody{Node: proto.NodeID{1}, Sources: []proto.Source{{Number: 1, Address: to, Prefetch: 8}}}
	one := &candidate{client: cl, endpoint: "tcp://one", life: ctx, tried: true}
	two := &candidate{client: cl, endpoint: "tcp://two", life: ctx, tried: true}
	first := linked(t)
	p, err := cl.join(one, first, hello)
	if err != nil {
		t.Fatal(err)
	}
	told := make(outcomeOf, 1)
	if err := cl.send(ctx, to, &messaging.Message{}, told); err != nil {
		t.Fatal(err)
	}
	first.Abort(errors.New("cut"))
	late, cancel := context.WithCancel(ctx)
	cancel()
	if err := cl.send(late, to, &messaging.Message{}, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("sending over a broken link: %v", err)
	}
	_, err = cl.join(two, linked(t), hello)
	t.Logf("the second: %v", err)
	one.down(p, first, errors.New("cut"), false)
	select {
	case err := <-told:
		if !errors.Is(err, messaging.ErrOutcomeUnknown) {
			t.Errorf("the outcome is %v", err)
		}
	default:
		t.Error("no outcome is told")
	}
}
