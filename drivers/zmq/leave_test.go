package zmq

import (
	"context"
	"errors"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestRoomWhileLeaving: what a closing node has said was not sent is not sent when its
// server has room for it just before it hears of the end.
func TestRoomWhileLeaving(t *testing.T) {
	ctx := t.Context()
	cl := unlinked(t)
	to := messaging.Address{Topic: "work"}
	cd := &candidate{client: cl, endpoint: "tcp://one", life: ctx, tried: true}
	p, err := cl.join(cd, linked(t), &proto.HelloBody{Node: proto.NodeID{1}, Sources: []proto.Source{{Number: 1, Address: to, Prefetch: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	told := make(outcomeOf, 1)
	if err := cl.send(ctx, to, &messaging.Message{}, told); err != nil {
		t.Fatal(err)
	}
	full := &link.Message{Second: proto.AppendSettled(nil, 1, proto.Full)}
	if err := p.handle(&proto.Head{Kind: proto.Settled}, full, nil); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	cl.drain(ended)
	cl.leave()
	if err := <-told; !errors.Is(err, messaging.ErrNotSent) {
		t.Errorf("the outcome is %v", err)
	}
	if err := p.handle(&proto.Head{Kind: proto.Room, Source: 1, Count: 1}, &link.Message{}, nil); err != nil {
		t.Fatal(err)
	}
	if p.seq > 1 {
		t.Error("it was sent after all")
	}
}
