package amqp1

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
)

const valueType = "value"

func str(s string) *string { return &s }

func marshal(tb testing.TB, m *amqp.Message) []byte {
	tb.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestReceived reads what the library writes.
func TestReceived(t *testing.T) {
	for _, tt := range []struct {
		name string
		give amqp.Message
		want messaging.Message
	}{
		{"nothing", amqp.Message{}, messaging.Message{ContentType: valueType}},
		{"null", amqp.Message{Value: amqp.Null{}}, messaging.Message{ContentType: valueType}},
		{"a string", amqp.Message{Value: "text"}, messaging.Message{ContentType: valueType, Body: []byte("text")}},
		{"a long string", amqp.Message{Value: strings.Repeat("x", 300)}, messaging.Message{ContentType: valueType, Body: bytes.Repeat([]byte("x"), 300)}},
		{"a list", amqp.Message{Value: []any{"text"}}, messaging.Message{}},
		{"a sequence", amqp.Message{Sequence: [][]any{{"text"}}}, messaging.Message{}},
		{"data in pieces", amqp.Message{Data: [][]byte{[]byte("a"), []byte("b")}}, messaging.Message{Body: []byte("ab")}},
		{
			"properties",
			amqp.Message{
				Header:              &amqp.MessageHeader{Durable: true, Priority: 200, TTL: time.Second},
				DeliveryAnnotations: amqp.Annotations{"a": int64(1)},
				Annotations:         amqp.Annotations{"x-opt-jms-dest": int8(0), "deep": []any{map[string]any{"k": []any{uint64(1)}}}},
				Properties: &amqp.MessageProperties{
					MessageID: uint64(7), CorrelationID: amqp.UUID{1}, ReplyTo: str("r"), ContentType: str("c"), ContentEncoding: str("gzip"),
					UserID: []byte("u"), GroupID: str("g"), GroupSequence: new(uint32),
				},
				ApplicationProperties: map[string]any{
					"b": true, "a": "text", "i": int32(-1), "f": 1.5, "t": time.Unix(0, 0), "bin": []byte("x"), "list": []any{1}, "null": nil,
					"i8": int8(-8), "i16": int16(-300), "i64": int64(-1 << 40), "u8": uint8(200), "u16": uint16(300), "u32": uint32(1 << 20),
					"u64": uint64(1 << 63), "f32": float32(0.5), "uuid": amqp.UUID{1}, "sym": amqp.Symbol("s"), "zero": uint32(0),
				},
				Data:   [][]byte{[]byte("x")},
				Footer: amqp.Annotations{"f": "x"},
			},
			messaging.Message{
				ID: "7", CorrelationID: "01000000-0000-0000-0000-000000000000", ReplyTo: "r", ContentType: "c", ContentEncoding: "gzip",
				Durable: true, Priority: 9, TTL: time.Second, Body: []byte("x"),
				Headers: []messaging.Header{
					{Key: "a", Value: "text"},
					{Key: "b", Value: "true"},
					{Key: "bin", Value: "x"},
					{Key: "f", Value: "1.5"},
					{Key: "f32", Value: "0.5"},
					{Key: "i", Value: "-1"},
					{Key: "i16", Value: "-300"},
					{Key: "i64", Value: "-1099511627776"},
					{Key: "i8", Value: "-8"},
					{Key: "sym", Value: "s"},
					{Key: "t", Value: "1970-01-01T00:00:00Z"},
					{Key: "u16", Value: "300"},
					{Key: "u32", Value: "1048576"},
					{Key: "u64", Value: "9223372036854775808"},
					{Key: "u8", Value: "200"},
					{Key: "uuid", Value: "01000000-0000-0000-0000-000000000000"},
					{Key: "zero", Value: "0"},
				},
			},
		},
		{"a binary id", amqp.Message{Properties: &amqp.MessageProperties{MessageID: []byte{1, 0xff}}}, messaging.Message{ID: "01ff", ContentType: valueType}},
	} {
		d := decoder{valueType: valueType}
		got := d.message(marshal(t, &tt.give))
		if diff := cmp.Diff(tt.want, got.Message); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestArrival: what the broker says of a message besides.
func TestArrival(t *testing.T) {
	d := decoder{}
	a := d.message(marshal(t, &amqp.Message{
		Header:     &amqp.MessageHeader{DeliveryCount: 3, FirstAcquirer: true},
		Properties: &amqp.MessageProperties{To: str("q"), Subject: str("s")},
	}))
	if a.count != 3 || !a.first || !a.header || string(a.to) != "q" || string(a.subject) != "s" {
		t.Errorf("%+v", a)
	}
	for _, tt := range []struct {
		name string
		give arrival
		p    *profile
		want bool
	}{
		{"counted", arrival{header: true, count: 1, first: true}, rabbitMQ(), true},
		{"not the first", arrival{header: true}, rabbitMQ(), true},
		{"not the first, says a broker that does not know", arrival{header: true}, artemis(), false},
		{"no header", arrival{}, rabbitMQ(), false},
	} {
		if got := tt.p.wasDelivered(&tt.give); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// levels is a value that holds a value, and so on.
func levels(n int) []byte {
	return append(append([]byte{0, 0x53, 0x77}, bytes.Repeat([]byte{0xd0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1}, n)...), 0x40)
}

// TestUnreadable: what a stranger sends costs its receiver one message.
func TestUnreadable(t *testing.T) {
	good := marshal(t, &amqp.Message{
		Header: &amqp.MessageHeader{Durable: true}, Properties: &amqp.MessageProperties{ReplyTo: str("binary")},
		ApplicationProperties: map[string]any{"c": uint32(0xdeadbeef)}, Data: [][]byte{[]byte("x")},
	})
	replace := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	for name, b := range map[string][]byte{
		"levels":                              levels(100_000),
		"levels of descriptors":               append([]byte{0, 0x53, 0x77}, bytes.Repeat([]byte{0}, 100_000)...),
		"a text where there is none":          replace("\xa1\x06binary", "\xa0\x06binary"),
		"text that is none":                   replace("\xa1\x06binary", "\xa1\x06\xff\xff\xff\xff\xff\xff"),
		"a type that there is not":            replace("\x70\xde\xad\xbe\xef", "\x3f\xde\xad\xbe\xef"),
		"a section that there is not":         append(bytes.Clone(good), 0, 0x53, 0x79, 0x40),
		"no section":                          append(bytes.Clone(good), 0x40),
		"a name that is a number":             replace("\xa1\x01c", "\x60\x00\x01"),
		"more properties than there may be":   append([]byte{0, 0x53, 0x74, 0xd1, 0, 0, 0x80, 4, 0, 0, 0x80, 0}, bytes.Repeat([]byte{0x40}, 0x8000)...),
		"more properties than bytes":          {0, 0x53, 0x74, 0xd1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff},
		"properties that are none":            {0, 0x53, 0x74, 0x41},
		"a number of names and values is odd": {0, 0x53, 0x74, 0xc1, 2, 1, 0x40},
		"more bytes than there are":           {0, 0x53, 0x75, 0xb0, 0xff, 0xff, 0xff, 0xff, 1},
	} {
		d := decoder{valueType: valueType}
		if a := d.message(b); !strings.HasPrefix(a.ContentType, "unreadable: ") || len(a.Body) > 0 {
			t.Errorf("%s: %+v", name, a.Message)
		}
	}
	for n := range len(good) {
		d := decoder{}
		if a := d.message(good[:n]); n > 0 && a.ContentType == "" && len(a.Body) > 0 {
			t.Errorf("of %d bytes: %+v", n, a.Message)
		}
	}
	// A character, which the library does not know, is one.
	d := decoder{}
	if a := d.message(replace("\x70\xde\xad\xbe\xef", "\x73\x00\x00\x00A")); len(a.Headers) != 1 || a.Headers[0].Value != "A" {
		t.Errorf("%+v", a)
	}
}

// TestSent is read by the library.
func TestSent(t *testing.T) {
	ttl := func(d time.Duration) messaging.Message { return messaging.Message{TTL: d} }
	notes := messaging.Address{Kind: messaging.KindNotify, Topic: "n"}
	usual := messaging.Message{
		ID: "id", CorrelationID: "c", ReplyTo: "r", ContentType: "application/json", ContentEncoding: "gzip", Durable: true, Priority: 5, TTL: time.Second,
		Headers: []messaging.Header{{Key: "k", Value: "v"}, {Key: "k", Value: "twice"}, {Key: "long", Value: strings.Repeat("x", 300)}},
		Body:    bytes.Repeat([]byte("x"), 70_000),
	}
	header := func(m *messaging.Message, ttl time.Duration) *amqp.MessageHeader {
		return &amqp.MessageHeader{Durable: m.Durable, Priority: m.Priority, TTL: ttl}
	}
	for _, tt := range []struct {
		name   string
		m      messaging.Message
		to     messaging.Address
		target terminus
		want   amqp.Message
	}{
		{"nothing", messaging.Message{}, messaging.Address{}, terminus{address: "a"}, amqp.Message{
			Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{}, Data: [][]byte{{}},
		}},
		{"all", usual, messaging.Address{}, terminus{address: "a", anonymous: true}, amqp.Message{
			Header: header(&usual, time.Second),
			Properties: &amqp.MessageProperties{
				MessageID: "id", CorrelationID: "c", To: str("a"), ReplyTo: str("r"), ContentType: str("application/json"), ContentEncoding: str("gzip"),
			},
			ApplicationProperties: map[string]any{"k": "v", "long": strings.Repeat("x", 300)}, Data: [][]byte{usual.Body},
		}},
		{"a character set", messaging.Message{ContentEncoding: "utf-8"}, messaging.Address{}, terminus{}, amqp.Message{
			Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{}, Data: [][]byte{{}},
		}},
		{"a notification", messaging.Message{}, notes, terminus{}, amqp.Message{
			Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{Subject: str("n")}, Data: [][]byte{{}},
		}},
		{"a broadcast", messaging.Message{}, messaging.Address{Fanout: true}, terminus{subject: "key"}, amqp.Message{
			Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{Subject: str("key")}, Data: [][]byte{{}},
		}},
		{"the shortest life", ttl(1), messaging.Address{}, terminus{}, amqp.Message{
			Header: header(&messaging.Message{}, time.Millisecond), Properties: &amqp.MessageProperties{}, Data: [][]byte{{}},
		}},
		{"the longest life", ttl(1 << 62), messaging.Address{}, terminus{}, amqp.Message{
			Header: header(&messaging.Message{}, maxTTL), Properties: &amqp.MessageProperties{}, Data: [][]byte{{}},
		}},
		{"a value", messaging.Message{ContentType: valueType, ID: "id", Body: []byte("{}")}, notes, terminus{address: "a"}, amqp.Message{
			Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{MessageID: "id", To: str("a")}, Value: "{}",
		}},
		{"no value", messaging.Message{ContentType: valueType}, messaging.Address{}, terminus{address: "a"}, amqp.Message{
			Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{To: str("a")}, Value: amqp.Null{},
		}},
	} {
		b := appendMessage([]byte("before"), &tt.m, tt.to, &tt.target, valueType)
		var got amqp.Message
		if err := got.UnmarshalBinary(b[len("before"):]); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, null := tt.want.Value.(amqp.Null); null {
			tt.want.Value = got.Value // the library makes nothing of it
		}
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b amqp.Message) bool {
			return cmp.Equal(a.Header, b.Header) && cmp.Equal(a.Properties, b.Properties) && cmp.Equal(a.ApplicationProperties, b.ApplicationProperties) &&
				cmp.Equal(a.Value, b.Value) && bytes.Equal(a.GetData(), b.GetData())
		})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestPerformatives compares with bytes written by hand from the specification.
func TestPerformatives(t *testing.T) {
	first, frame := appendTransfer(nil, 1, transfer{handle: 3, id: 0x100, first: true, settled: true})
	endFrame(first, frame)
	rest, frame := appendTransfer(nil, 0, transfer{more: true})
	endFrame(rest, frame)
	for _, tt := range []struct {
		name, want string
		got        []byte
	}{
		{"transfer", "0000001e 02 00 0001 005314 c0 11 06 5203 7000000100 a0 04 00000100 43 41 42", first},
		{"the rest of a message", "00000014 02 00 0000 005314 c0 07 06 43 40 40 40 42 41", rest},
		{"flow of a session", "00000018 02 00 0002 005313 c0 0b 04 43 5205 7000001388 5201", appendFlow(nil, 2, flow{incomingWindow: 5, nextOutgoing: 5000, outgoingWindow: 1})},
		{
			"flow of a link", "00000019 02 00 0000 005313 c0 0c 09 43 43 43 43 43 5207 5264 40 41",
			appendFlow(nil, 0, flow{link: true, deliveryCount: 7, credit: 100, drain: true}),
		},
		{"accepted", "00000017 02 00 0000 005315 c0 0a 05 41 5209 40 41 00532445", appendDisposition(nil, 0, disposition{receiver: true, first: 9, last: 9, settled: true, state: stateAccepted})},
		{"settled, both", "00000018 02 00 0000 005315 c0 0b 05 42 5209 520a 41 00532445", appendDisposition(nil, 0, disposition{first: 9, last: 10, settled: true, state: stateAccepted})},
		{"modified", "00000019 02 00 0000 005315 c0 0c 05 41 43 40 41 005327 c0 02 01 41", appendDisposition(nil, 0, disposition{receiver: true, settled: true, state: stateModified, failed: true})},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tt.got, want) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, tt.got, want)
		}
	}
}

// FuzzMessage: whatever is in a message, reading it ends, and holds no more than came.
func FuzzMessage(f *testing.F) {
	f.Add(marshal(f, &amqp.Message{
		Header: &amqp.MessageHeader{Durable: true, TTL: 1e9, DeliveryCount: 3}, Properties: &amqp.MessageProperties{MessageID: amqp.UUID{1}, To: str("q"), ContentType: str("c")},
		ApplicationProperties: map[string]any{"s": "text", "i": int32(-1), "f": 1.5, "b": true}, Data: [][]byte{[]byte("x")},
	}))
	f.Add(levels(40))
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := decoder{valueType: valueType}
		a := d.message(payload)
		size := len(a.Body)
		for _, h := range a.Headers {
			size += len(h.Key)
		}
		if size > len(payload) {
			t.Errorf("%d bytes are in a message of %d", size, len(payload))
		}
	})
}
