package amqp1

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/messaging"
)

// stream is a net.Conn that is only read.
type stream struct {
	socket
	r io.Reader
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

var _ net.Conn = (*stream)(nil)

// TestFramesRead: what is the library's is passed on whole and in order, however it
// arrives.
func TestFramesRead(t *testing.T) {
	passed := [][]byte{
		[]byte("AMQP\x03\x01\x00\x00"),
		{0, 0, 0, 12, 2, 1, 0, 0, 0, 0x53, 0x44, 0x45}, // SASL
		[]byte("AMQP\x00\x01\x00\x00"),
		performative(performOpen, 1, codeString8, 0),
		performative(performTransfer, 2, codeUint0, codeUint0), // of no session
		{0, 0, 0, 8, 2, 0, 0, 0},
		performative(performEnd, 0),
	}
	want := bytes.Join(passed, nil)
	for _, r := range []io.Reader{bytes.NewReader(want), iotest.OneByteReader(bytes.NewReader(want)), iotest.HalfReader(bytes.NewReader(want))} {
		s := &stream{r: r}
		s.came.L = &s.mu
		c := coalesce.New(s, coalesce.Options{})
		got, err := io.ReadAll(newFrames(c, 0, 0, ""))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x, %v; want %x", got, err, want)
		}
		c.Abort()
	}
}

// TestFramesRefuse what breaks what was agreed on.
func TestFramesRefuse(t *testing.T) {
	for name, b := range map[string][]byte{
		"too large":    {0, 2, 0, 1, 2, 0, 0, 0},
		"too small":    {0, 0, 0, 7, 2, 0, 0, 0},
		"cut off":      {0, 0, 0, 13, 2, 0, 0, 0, 0, 0x53, 0x11, 0xc0, 9},
		"no type":      {0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x14, 0x3f},
		"half a field": performative(performOpen, 3, codeNull, codeNull, codeUint, 1),
	} {
		s := &stream{r: bytes.NewReader(b)}
		s.came.L = &s.mu
		c := coalesce.New(s, coalesce.Options{})
		if got, err := io.ReadAll(newFrames(c, 0, 0, "")); err == nil {
			t.Errorf("%s: passed on %x", name, got)
		}
		c.Abort()
	}
}

// TestSettles: when an outcome is asked for.
func TestSettles(t *testing.T) {
	reply := messaging.Address{Kind: messaging.KindReply, Direct: "r"}
	request := messaging.Address{Topic: "t"}
	for _, tt := range []struct {
		name    string
		p       *profile
		to      messaging.Address
		m       messaging.Message
		settled bool
	}{
		{"cast", artemis(), request, messaging.Message{}, false},
		{"call", artemis(), request, messaging.Message{ReplyTo: "r"}, true},
		{"mandatory call on RabbitMQ", rabbitMQ(), request, messaging.Message{ReplyTo: "r", Mandatory: true}, false},
		{"mandatory call on Broker-J", brokerJ(), request, messaging.Message{ReplyTo: "r", Mandatory: true}, true},
		{"reply", brokerJ(), reply, messaging.Message{}, true},
		{"mandatory reply on RabbitMQ", rabbitMQ(), reply, messaging.Message{Mandatory: true}, false},
		{"notification", artemis(), messaging.Address{Kind: messaging.KindNotify, Topic: "n"}, messaging.Message{}, false},
	} {
		c := &conn{o: &options{}, p: tt.p}
		if got := c.settles(tt.to, &tt.m); got != tt.settled {
			t.Errorf("%s: settled %v", tt.name, got)
		}
	}
	c := &conn{o: &options{settledCasts: true}, p: artemis()}
	for durable, want := range map[bool]bool{false: true, true: false} {
		if got := c.settles(request, &messaging.Message{Durable: durable}); got != want {
			t.Errorf("pre_settled=rpc-cast, durable %v: settled %v", durable, got)
		}
	}
}

func TestCheck(t *testing.T) {
	wrong := "\xff"
	for name, m := range map[string]*messaging.Message{
		"content type":     {ContentType: "é"},
		"content encoding": {ContentEncoding: "é"},
		"id":               {ID: wrong},
		"correlation id":   {CorrelationID: wrong},
		"reply address":    {ReplyTo: wrong},
		"header":           {Headers: []messaging.Header{{Key: "k", Value: wrong}}},
		"name":             {Headers: []messaging.Header{{Key: wrong}}},
		"size":             {Body: []byte("four")},
	} {
		if check(messaging.Address{}, m, 3) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if check(messaging.Address{Kind: messaging.KindReply, Direct: wrong}, &messaging.Message{}, 0) == nil {
		t.Error("the address of a reply: no error")
	}
	if err := check(messaging.Address{Direct: "é"}, &messaging.Message{ID: "é", Body: []byte("four")}, 4); err != nil {
		t.Error(err)
	}
}
