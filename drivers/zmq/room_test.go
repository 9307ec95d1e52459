package zmq

import (
	"context"
	"errors"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestRoomForWhoGaveUp: room that came for a send which gave up before it could be used
// is given back, so that the server has it for others.
func TestRoomForWhoGaveUp(t *testing.T) {
	ctx := t.Context()
	cl := unlinked(t)
	to := messaging.Address{Topic: "work"}
	cd := &candidate{client: cl, endpoint: "tcp://one", life: ctx, tried: true}
	p, err := cl.join(cd, linked(t), &proto.HelloBody{Node: proto.NodeID{1}, Sources: []proto.Source{{Number: 1, Address: to, Prefetch: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	hear := func(kind proto.Kind, settled []byte) {
		t.Helper()
		if err := p.handle(&proto.Head{Kind: kind, Source: 1, Count: 1, Seq: p.seq}, &link.Message{Second: settled}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.send(ctx, to, &messaging.Message{}, nil); err != nil {
		t.Fatal(err)
	}
	hear(proto.Settled, proto.AppendSettled(nil, 1, proto.Full)) // others have its room
	hear(proto.Received, nil)
	giving, giveUp := context.WithCancel(ctx)
	waiting := make(chan error, 1)
	go func() { waiting <- cl.send(giving, to, &messaging.Message{}, nil) }()
	for queued := 0; queued < 2; {
		cl.mu.Lock()
		queued = p.members[1].pool.queue.Len()
		cl.mu.Unlock()
	}
	hear(proto.Room, nil) // for the first, which says that more wait
	hear(proto.Received, nil)
	hear(proto.Room, nil) // for the second, as the first is being settled
	giveUp()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	hear(proto.Settled, proto.AppendSettled(nil, 2, proto.Ack))
	if m := p.members[1]; m.rooms > 0 || m.full {
		t.Errorf("room for %d is kept for nobody", m.rooms)
	}
}
