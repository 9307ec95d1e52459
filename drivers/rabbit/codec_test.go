package rabbit

import (
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestCodec compares with bytes written by hand from the specification.
func TestCodec(t *testing.T) {
	m := &messaging.Message{
		ContentType: "t", ContentEncoding: "e", CorrelationID: "c", ReplyTo: "r", TTL: time.Minute, Priority: 5,
		Headers: []messaging.Header{{Key: "k", Value: "v"}}, Body: []byte("body"),
	}
	for _, tt := range []struct{ name, want, got string }{
		{
			"publish", "010002 0000000f 003c 0028 0000 0178 0568656c6c6f 01 ce" +
				"020002 0000002d 003c 0000 0000000000000004 ff80 0174 0165 00000008 016b 53 00000001 76 02 05 0163 0172 05 3630303030 026964 ce",
			string(appendPublish(nil, 2, route{exchange: exchange{name: "x"}, key: "hello"}, true, m, "id")),
		},
		{
			"publish of nothing", "010002 00000009 003c 0028 0000 00 00 00 ce" + "020002 0000000f 003c 0000 0000000000000000 1000 02 ce",
			string(appendPublish(nil, 2, route{}, false, &messaging.Message{}, "")),
		},
		{
			"declare", "010002 00000014 0028 000a 0000 0178 0666616e6f7574 14 00000000 ce",
			string(appendDeclare(nil, 2, exchange{name: "x", kind: "fanout", autoDelete: true})),
		},
		{
			"declare durable", "010002 00000013 0028 000a 0000 0178 05746f706963 12 00000000 ce",
			string(appendDeclare(nil, 2, exchange{name: "x", kind: "topic", durable: true})),
		},
		{"body", "030002 00000004 626f6479 ce", string(appendBody(nil, 2, m.Body))},
		{"ack", "01ffff 0000000d 003c 0050 0102030405060708 01 ce", string(appendAck(nil, 0xffff, 0x0102030405060708, true))},
		{"nack", "010001 0000000d 003c 0078 0000000000000001 02 ce", string(appendNack(nil, 1, 1, true))},
		{"drop", "010001 0000000d 003c 0078 0000000000000001 00 ce", string(appendNack(nil, 1, 1, false))},
		{"get", "010001 00000009 003c 0046 0000 0171 00 ce", string(appendGet(nil, 1, "q"))},
		{"flow", "010001 00000005 0014 0014 01 ce", string(appendFlow(nil, 1))},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if tt.got != string(want) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, tt.got, want)
		}
	}
}

func TestExpiration(t *testing.T) {
	for _, tt := range []struct {
		ttl  time.Duration
		want string
	}{
		{1, "1"},
		{time.Millisecond, "1"},
		{time.Millisecond + 1, "2"},
		{7250 * time.Millisecond, "7250"},
		{time.Minute, "60000"},
		{maxExpiration, "4294967295"},
		{maxExpiration + 1, "4294967295"},
		{math.MaxInt64, "4294967295"},
	} {
		if got := appendExpiration(nil, tt.ttl); string(got[1:]) != tt.want || int(got[0]) != len(tt.want) {
			t.Errorf("TTL %v: expiration %q, want %q", tt.ttl, got, tt.want)
		}
	}
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "60000": time.Minute, "4294967295": maxExpiration, "4294967296": 0, "-1": 0, "1.5": 0, "not a number": 0,
		"99999999999999999999999999": 0,
	} {
		if got := expiration([]byte(text)); got != want {
			t.Errorf("expiration %q: %v, want %v", text, got, want)
		}
	}
}

// props returns the payload of a header, from its flags on, with a table.
func props(table string) []byte {
	return appendLong([]byte{flagHeaders >> 8, flagHeaders & 0xff}, table)
}

// TestHeaders has what foreign peers may put into a message.
func TestHeaders(t *testing.T) {
	const long = "\x00\x00\x00\x00\x00\x00\x00"
	m, n := (&frames{}).properties(props(
		"\x06stringS\x00\x00\x00\x01s" + "\x05bytesx\x00\x00\x00\x01b" + "\x04truet\x01" + "\x05falset\x00" +
			"\x04timeT\x00\x00\x00\x00\x69\x57\xb3\x40" + "\x07float32f\x3f\x00\x00\x00" + "\x07float64d\x3f\xe0" + long[:6] +
			"\x04int8b\xf8" + "\x05uint8B\x08" + "\x05int16s\xff\xf0" + "\x06uint16u\x00\x10" + "\x05int32I\xff\xff\xff\xe0" + "\x06uint32i\x00\x00\x00\x20" +
			"\x05int64l\x80" + long + "\x07decimalD\x02\xff\xff\xff\xfb" + "\x05wholeD\x00\x00\x00\x00\x07" + "\x06scaledD\x01\x00\x00\x04\xd2" +
			"\x03nilV" + "\x05tableF\x00\x00\x00\x08\x01aS\x00\x00\x00\x01b" + "\x05arrayA\x00\x00\x00\x06S\x00\x00\x00\x01a",
	))
	want := messaging.Message{Headers: []messaging.Header{
		{Key: "bytes", Value: "b"},
		{Key: "decimal", Value: "-0.05"},
		{Key: "false", Value: "false"},
		{Key: "float32", Value: "0.5"},
		{Key: "float64", Value: "0.5"},
		{Key: "int16", Value: "-16"},
		{Key: "int32", Value: "-32"},
		{Key: "int64", Value: "-9223372036854775808"},
		{Key: "int8", Value: "-8"},
		{Key: "scaled", Value: "123.4"},
		{Key: "string", Value: "s"},
		{Key: "time", Value: "2026-01-02T12:00:00Z"},
		{Key: "true", Value: "true"},
		{Key: "uint16", Value: "16"},
		{Key: "uint32", Value: "32"},
		{Key: "uint8", Value: "8"},
		{Key: "whole", Value: "7"},
	}}
	if diff := cmp.Diff(want, m, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if n.count != -1 {
		t.Errorf("count %d, want -1", n.count)
	}
}

// deep returns a table that holds a table that holds a table...
func deep(levels int) string {
	table := "\x01xV"
	for range levels {
		table = "\x01xF" + string(appendLong(nil, table))
	}
	return table
}

// TestForeignHeaders: what cannot be read makes a message that is dropped as
// any other that cannot be decoded, and costs no connection.
func TestForeignHeaders(t *testing.T) {
	for name, tt := range map[string]struct {
		table string
		want  bool
	}{
		"nothing":                  {"", true},
		"a thousand tables":        {deep(1000), true}, // left out, not looked into
		"as many as can be":        {strings.Repeat("\x01xV", maxHeaders), true},
		"too many":                 {strings.Repeat("\x01xV", maxHeaders+1), false},
		"unknown type":             {"\x01aZ", false},
		"name without an end":      {"\x09a", false},
		"no value":                 {"\x01a", false},
		"text without an end":      {"\x01aS\x00\x00\x00\x09x", false},
		"text of negative length":  {"\x01aS\xff\xff\xff\xff", false},
		"table of negative length": {"\x01aF\xff\xff\xff\xff", false},
		"half a length":            {"\x01aS\x00\x00", false},
		"half a number":            {"\x01al\x00\x00", false},
		"no number":                {"\x01aI", false},
	} {
		m, _ := (&frames{}).properties(props(tt.table))
		if readable := m.ContentType == ""; readable != tt.want {
			t.Errorf("%s: content type %q", name, m.ContentType)
		}
	}
	cut := props("")
	if m, _ := (&frames{}).properties(cut[:len(cut)-1]); m.ContentType == "" {
		t.Error("properties that are cut off can be read")
	}
}

func TestDeliveryCount(t *testing.T) {
	number := func(key string, n byte) string { return string(append(appendShort(nil, key), 'B', n)) }
	for name, tt := range map[string]struct {
		table string
		want  int
	}{
		"not counted":                         {"", -1},
		"failed twice":                        {number("x-delivery-count", 2), 2},
		"given back three times, failed once": {number("x-acquired-count", 3) + number("x-delivery-count", 1), 3},
		"nonsense":                            {"\x10x-delivery-countS\x00\x00\x00\x04many", -1},
		"nothing":                             {"\x10x-delivery-countV", -1},
	} {
		m, n := (&frames{}).properties(props(tt.table))
		if n.count != tt.want || len(m.Headers) > 0 {
			t.Errorf("%s: count %d, want %d; headers %v", name, n.count, tt.want, m.Headers)
		}
	}
}

func TestStreamOffset(t *testing.T) {
	m, n := (&frames{}).properties(props("\x0fx-stream-offsetl\x00\x00\x00\x00\x00\x00\x01\x02" + "\x01aS\x00\x00\x00\x01b"))
	if n.offset != 0x102 || len(m.Headers) != 1 {
		t.Errorf("offset %d, headers %v", n.offset, m.Headers)
	}
}

func TestRoutesThatCannotBe(t *testing.T) {
	for name, r := range map[string]route{
		"key":      {key: strings.Repeat("k", 256)},
		"exchange": {exchange: exchange{name: strings.Repeat("x", 256)}},
	} {
		if err := check(&messaging.Message{}, r, 1, frameSize); !errors.Is(err, messaging.ErrTooLarge) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
