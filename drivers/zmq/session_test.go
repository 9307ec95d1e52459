package zmq_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestRequestsOfOnePacket sends requests to several sources in one write: some find
// room, some do not, some find nobody. Each has its outcome, and none counts as
// received before it is told that it was turned back.
func TestRequestsOfOnePacket(t *testing.T) {
	address := freePorts(t, 1)[0]
	server := dial(t, "zmq://"+address+"/")
	const prefetch = 3
	var topics [2]messaging.Listener
	for i, name := range []string{"a", "b"} {
		topics[i] = listenOn(t, server, messaging.Subscription{Sources: []messaging.Address{targetOf(name)}, Prefetch: prefetch})
	}
	o := link.Options{MaxMessage: 1 << 20, Handshake: limit, Heartbeat: limit, Silence: limit, WriteTimeout: limit}
	lk, err := link.Dial(t.Context(), "tcp", address, nil, nil, &o, nil)
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(limit, func() { lk.Abort(context.DeadlineExceeded) })
	defer late.Stop()
	defer func() { _ = lk.Close() }()
	read := func() (h proto.Head, m link.Message) {
		if err := lk.Read(&m); err != nil {
			t.Fatal(err)
		}
		if err := h.Parse(m.Head); err != nil {
			t.Fatal(err)
		}
		return h, m
	}
	head := proto.Head{Kind: proto.Hello}
	b := link.AppendFrame(nil, head.Append(nil), true)
	if err := lk.Write(link.AppendFrame(b, proto.AppendHello(nil, &proto.HelloBody{Node: proto.NodeID{1}}), false)); err != nil {
		t.Fatal(err)
	}
	_, m := read()
	theirs, err := proto.ParseHello(m.Second)
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]uint32{"nobody": 1 << 30}
	for _, s := range theirs.Sources {
		numbers[s.Address.Topic] = s.Number
	}

	requests := strings.Fields("a b nobody a a a nobody b b b a nobody")
	b = b[:0]
	for i, topic := range requests {
		head := proto.Head{Kind: proto.Request, Source: numbers[topic], Seq: uint64(i + 1)}
		b = link.AppendFrame(b, head.Append(nil), true)
		b = link.AppendFrame(b, proto.AppendProps(nil, "", &messaging.Message{}), true)
		b = link.AppendFrame(b, fmt.Append(nil, i+1), false)
	}
	if err := lk.Write(b); err != nil {
		t.Fatal(err)
	}
	outcomes := map[uint64]proto.Outcome{}
	want := map[uint64]proto.Outcome{3: proto.Gone, 6: proto.Full, 7: proto.Gone, 10: proto.Full, 11: proto.Full, 12: proto.Gone}
	for received := uint64(0); received < uint64(len(requests)); {
		h, m := read()
		switch h.Kind {
		case proto.Settled:
			if err := proto.ParseSettled(m.Second, func(seq uint64, o proto.Outcome) { outcomes[seq] = o }); err != nil {
				t.Fatal(err)
			}
		case proto.Received:
			received = h.Seq
			for seq := range want {
				if _, told := outcomes[seq]; seq <= received && !told {
					t.Errorf("%d counts as received, and was turned back", seq)
				}
			}
		default:
			t.Fatalf("%v", h.Kind)
		}
	}
	if fmt.Sprint(outcomes) != fmt.Sprint(want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
	for i, want := range [][]string{{"1", "4", "5"}, {"2", "8", "9"}} {
		var got []string
		for range want {
			got = append(got, string(poll(t, topics[i]).Body))
		}
		if !slices.Equal(got, want) {
			t.Errorf("source %d received %v, want %v", i, got, want)
		}
	}
}
