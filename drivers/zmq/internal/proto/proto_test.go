package proto_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestHead(t *testing.T) {
	tests := []struct {
		name string
		give proto.Head
		want proto.Head
	}{
		{"request", proto.Head{
			Kind: proto.Request, Flags: proto.Redelivered | proto.WantsRoom, Source: 7, Seq: math.MaxUint64, TTL: time.Second, Count: 3,
		}, proto.Head{
			Kind: proto.Request, Flags: proto.Redelivered | proto.WantsRoom, Source: 7, Seq: math.MaxUint64, TTL: time.Second, Count: 3,
		}},
		{"the least time is not for ever", proto.Head{Kind: proto.Request, TTL: 1}, proto.Head{Kind: proto.Request, TTL: time.Millisecond}},
		{"the longest time", proto.Head{Kind: proto.Request, TTL: math.MaxInt64}, proto.Head{Kind: proto.Request, TTL: math.MaxUint32 * time.Millisecond}},
		{"goodbye", proto.Head{Kind: proto.Bye}, proto.Head{Kind: proto.Bye}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame := tt.give.Append(nil)
			if len(frame) != proto.HeadSize {
				t.Fatalf("%d bytes, want %d", len(frame), proto.HeadSize)
			}
			var got proto.Head
			if err := got.Parse(frame); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeadIsRefused(t *testing.T) {
	good := (&proto.Head{Kind: proto.Hello}).Append(nil)
	change := func(at int, to byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = to
		return b
	}
	for _, tt := range []struct {
		name string
		give []byte
		want error
	}{
		{"empty", nil, proto.ErrMalformed},
		{"short", good[:proto.HeadSize-1], proto.ErrMalformed},
		{"long", append(append([]byte(nil), good...), 0), proto.ErrMalformed},
		{"no kind", change(1, 0), proto.ErrMalformed},
		{"unknown kind", change(1, 99), proto.ErrMalformed},
		{"version 0", change(0, 0), proto.ErrVersion},
		{"version 2, of another length", change(0, 2)[:5], proto.ErrVersion},
	} {
		var h proto.Head
		if err := h.Parse(tt.give); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestProps(t *testing.T) {
	give := messaging.Message{
		ID: "id", CorrelationID: "call", ReplyTo: "reply", ContentType: "type", ContentEncoding: "utf-8", Priority: 9,
		Headers: []messaging.Header{{Key: "", Value: ""}, {Key: "k", Value: strings.Repeat("v", 70000)}, {Key: "ключ", Value: "\x00"}},
	}
	frame := proto.AppendProps([]byte("x"), "to", &give)[1:]
	var got messaging.Message
	to, err := proto.ParseProps(frame, &got)
	if err != nil || to != "to" {
		t.Fatalf("%q, %v", to, err)
	}
	if diff := cmp.Diff(give, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for n := range 60 {
		if _, err := proto.ParseProps(frame[:n], new(messaging.Message)); !errors.Is(err, proto.ErrMalformed) {
			t.Errorf("%d bytes of it: %v, want %v", n, err, proto.ErrMalformed)
		}
	}
	if _, err := proto.ParseProps(append(frame, 0), new(messaging.Message)); !errors.Is(err, proto.ErrMalformed) {
		t.Errorf("one byte more: %v, want %v", err, proto.ErrMalformed)
	}
}

func TestFits(t *testing.T) {
	long := strings.Repeat("x", math.MaxUint16+1)
	for name, m := range map[string]*messaging.Message{
		"id":             {ID: long},
		"header":         {Headers: []messaging.Header{{Key: long}}},
		"large together": {Headers: []messaging.Header{{Value: strings.Repeat("x", proto.MaxProps)}}},
		"many headers":   {Headers: make([]messaging.Header, math.MaxUint16+1)},
	} {
		if proto.Fits("", m) {
			t.Errorf("%s fits", name)
		}
	}
	if proto.Fits(long, &messaging.Message{}) {
		t.Error("an address that is too long fits")
	}
	m := &messaging.Message{ID: long[1:], Headers: []messaging.Header{{Key: "k", Value: long}}}
	if !proto.Fits("to", m) || len(proto.AppendProps(nil, "to", m)) > proto.MaxProps {
		t.Error("what is long and possible does not fit")
	}
}

func TestHello(t *testing.T) {
	give := &proto.HelloBody{
		Node: proto.NodeID{1, 15: 2}, MaxMessage: 1 << 40, Name: "me",
		Sources: []proto.Source{
			{Number: 1, Prefetch: 64, Address: messaging.Address{Exchange: "x", Topic: "t"}},
			{Number: 2, Prefetch: 64, Address: messaging.Address{Exchange: "x", Topic: "t", Server: "s"}, AtMostOnce: true},
			{Number: 3, Prefetch: 64, Address: messaging.Address{Topic: "t", Fanout: true}, Member: "s"},
			{Number: 1 << 31, Prefetch: 1, Address: messaging.Address{Kind: messaging.KindNotify, Topic: "n.info"}, Group: "pool"},
		},
	}
	frame := proto.AppendHello(nil, give)
	got, err := proto.ParseHello(frame)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(give, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for n := range frame {
		if _, err := proto.ParseHello(frame[:n]); !errors.Is(err, proto.ErrMalformed) {
			t.Errorf("%d bytes of it: %v, want %v", n, err, proto.ErrMalformed)
		}
	}
	sources, err := proto.ParseSources(proto.AppendSources(nil, give.Sources))
	if diff := cmp.Diff(give.Sources, sources); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestAnnouncedNumbersAllocateNothing: a list that says it has four billion
// entries and has none.
func TestAnnouncedNumbersAllocateNothing(t *testing.T) {
	for name, parse := range map[string]func() error{
		"sources": func() error { _, err := proto.ParseSources([]byte{255, 255, 255, 255}); return err },
		"a header": func() error {
			frame := proto.AppendProps(nil, "", &messaging.Message{})
			frame[len(frame)-1] = 255
			_, err := proto.ParseProps(append(frame, 0, 0, 255, 255, 255, 255), new(messaging.Message))
			return err
		},
	} {
		allocated := testing.AllocsPerRun(10, func() {
			if err := parse(); !errors.Is(err, proto.ErrMalformed) {
				t.Errorf("%s: %v, want %v", name, err, proto.ErrMalformed)
			}
		})
		if allocated > 20 {
			t.Errorf("%s: %v allocations", name, allocated)
		}
	}
}

func TestSettledAndNumbers(t *testing.T) {
	frame := proto.AppendSettled(proto.AppendSettled(nil, 1, proto.Ack), math.MaxUint64, proto.Gone)
	var got []uint64
	err := proto.ParseSettled(frame, func(seq uint64, o proto.Outcome) { got = append(got, seq, uint64(o)) })
	if diff := cmp.Diff([]uint64{1, 0, math.MaxUint64, 4}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	nothing := func(uint64, proto.Outcome) {}
	for name, bad := range map[string][]byte{"cut off": frame[:10], "unknown outcome": proto.AppendSettled(nil, 1, 5)} {
		if err := proto.ParseSettled(bad, nothing); !errors.Is(err, proto.ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, proto.ErrMalformed)
		}
	}
	numbers, err := proto.ParseNumbers(proto.AppendNumbers(nil, []uint32{1, math.MaxUint32}))
	if diff := cmp.Diff([]uint32{1, math.MaxUint32}, numbers); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := proto.ParseNumbers([]byte{1}); !errors.Is(err, proto.ErrMalformed) {
		t.Errorf("a list of one byte: %v, want %v", err, proto.ErrMalformed)
	}
}

// FuzzDecode decodes whatever comes with every parser. What decodes must encode
// to the same bytes again, flags and reserved bits aside.
func FuzzDecode(f *testing.F) {
	f.Add(byte(0), (&proto.Head{Kind: proto.Request, Seq: 1}).Append(nil))
	f.Add(byte(1), proto.AppendProps(nil, "to", &messaging.Message{ID: "i", Headers: []messaging.Header{{Key: "k", Value: "v"}}}))
	f.Add(byte(2), proto.AppendHello(nil, &proto.HelloBody{Name: "n", Sources: []proto.Source{{Number: 1}}}))
	f.Add(byte(3), proto.AppendSources(nil, []proto.Source{{Group: "g"}}))
	f.Add(byte(4), proto.AppendSettled(nil, 9, proto.Requeue))
	f.Add(byte(5), proto.AppendNumbers(nil, []uint32{1, 2}))
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		var again []byte
		var err error
		switch which % 6 {
		case 0:
			var h proto.Head
			_ = h.Parse(data)
			return
		case 1:
			var m messaging.Message
			var to string
			if to, err = proto.ParseProps(data, &m); err == nil {
				again = proto.AppendProps(nil, to, &m)
			}
		case 2:
			var h *proto.HelloBody
			if h, err = proto.ParseHello(data); err == nil {
				again = proto.AppendHello(nil, h)
			}
		case 3:
			var s []proto.Source
			if s, err = proto.ParseSources(data); err == nil {
				again = proto.AppendSources(nil, s)
			}
		case 4:
			err = proto.ParseSettled(data, func(seq uint64, o proto.Outcome) { again = proto.AppendSettled(again, seq, o) })
		case 5:
			var n []uint32
			if n, err = proto.ParseNumbers(data); err == nil {
				again = proto.AppendNumbers(nil, n)
			}
		}
		if err != nil {
			if !errors.Is(err, proto.ErrMalformed) {
				t.Fatalf("%v does not match %v", err, proto.ErrMalformed)
			}
			return
		}
		if len(again) != len(data) {
			t.Errorf("%d bytes were encoded again as %d", len(data), len(again))
		}
	})
}
