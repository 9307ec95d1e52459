package zmq

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestSendsThatWaitForARestart: what waits for a lost link goes to the node that is at
// its endpoint now, in its order, and is not told that nobody is there.
func TestSendsThatWaitForARestart(t *testing.T) {
	ctx := t.Context()
	cl := unlinked(t)
	to := messaging.Address{Topic: "work"}
	sources := []proto.Source{{Number: 1, Address: to, Prefetch: 8}}
	cd := &candidate{client: cl, endpoint: "tcp://one", life: ctx, tried: true}
	first := linked(t)
	p, err := cl.join(cd, first, &proto.HelloBody{Node: proto.NodeID{1}, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	told := make(outcomeOf, 3)
	if err := cl.send(ctx, to, &messaging.Message{Body: []byte("received")}, told); err != nil {
		t.Fatal(err)
	}
	if err := p.handle(&proto.Head{Kind: proto.Received, Seq: 1}, &link.Message{}, nil); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut")
	first.Abort(cut)
	cd.down(p, first, cut, false)
	waiting := make(chan error, 1)
	go func() { waiting <- cl.send(ctx, to, &messaging.Message{Body: []byte("waits")}, told) }()
	for queued := false; !queued; {
		cl.mu.Lock()
		queued = cl.routes[to].pools[0].queue.Len() > 0
		cl.mu.Unlock()
	}
	next, err := cl.join(cd, linked(t), &proto.HelloBody{Node: proto.NodeID{2}, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	if err := next.handle(&proto.Head{Kind: proto.Received, Seq: next.seq}, &link.Message{}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-told; err != nil {
			t.Errorf("the outcome is %v", err)
		}
	}
	var sizes []int
	for seq := range next.seq {
		sizes = append(sizes, next.unsettled.find(seq+1).size)
	}
	if !slices.Equal(sizes, []int{len("received"), len("waits")}) {
		t.Errorf("it was sent messages of %d bytes", sizes)
	}
}

// TestExpiredWhileRepaired: what expires while its link is being repaired is not sent
// again, least of all as though it lived for ever.
func TestExpiredWhileRepaired(t *testing.T) {
	ctx := t.Context()
	cl := unlinked(t)
	to := messaging.Address{Topic: "work"}
	hello := &proto.HelloBody{Node: proto.NodeID{1}, Sources: []proto.Source{{Number: 1, Address: to, Prefetch: 8}}}
	cd := &candidate{client: cl, endpoint: "tcp://one", life: ctx, tried: true}
	var peers []*link.Link
	for range 2 {
		ours, theirs := link.Pipe(ctx, link.Options{MaxMessage: 1 << 20, WriteTimeout: time.Minute})
		defer ours.Abort(errLeaving)
		defer theirs.Abort(errLeaving)
		peers = append(peers, ours)
	}
	p, err := cl.join(cd, peers[0], hello)
	if err != nil {
		t.Fatal(err)
	}
	const life = 20 * time.Millisecond
	if err := cl.send(ctx, to, &messaging.Message{TTL: life}, make(outcomeOf, 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.handle(&proto.Head{Kind: proto.Received, Seq: 1}, &link.Message{}, nil); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut")
	peers[0].Abort(cut)
	cd.down(p, peers[0], cut, false)
	<-time.After(2 * life)
	if _, err := cl.join(cd, peers[1], hello); err != nil {
		t.Fatal(err)
	}
	if p.seq > 0 {
		t.Errorf("%d messages were sent again", p.seq)
	}
}
