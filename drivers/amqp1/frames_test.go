package amqp1

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/Azure/go-amqp"
)

// stream is a net.Conn that is only read.
type stream struct {
	net.Conn
	r io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// frameOf returns a frame with that body, on channel 1.
func frameOf(body ...[]byte) []byte {
	b := bytes.Join(append([][]byte{{0, 0, 0, 0, 2, 0, 0, 1}}, body...), nil)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// transferOf returns a transfer on a link.
func transferOf(handle byte, more bool, payload []byte) []byte {
	flag := byte(0x42)
	if more {
		flag = 0x41
	}
	fields := []byte{0x52, handle, 0x43, 0xa0, 1, 't', 0x43, 0x42, flag}
	return frameOf([]byte{0, 0x53, 0x14, 0xc0, byte(len(fields) + 1), 6}, fields, payload)
}

func marshal(tb testing.TB, m *amqp.Message) []byte {
	tb.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func str(s string) *string { return &s }

func usual(tb testing.TB, size int) []byte {
	tb.Helper()
	return marshal(tb, &amqp.Message{
		Header:                &amqp.MessageHeader{Durable: true, TTL: 1e9, DeliveryCount: 3},
		DeliveryAnnotations:   amqp.Annotations{"a": int64(1)},
		Annotations:           amqp.Annotations{"x-opt-jms-dest": int8(0), "deep": []any{map[string]any{"k": []any{uint64(1)}}}},
		Properties:            &amqp.MessageProperties{MessageID: amqp.UUID{1}, To: str("q"), ReplyTo: str("r"), ContentType: str("c")},
		ApplicationProperties: map[string]any{"s": "text", "i": int32(-1), "f": 1.5, "b": true, "u": uint64(1 << 60), "long": strings.Repeat("x", 300)},
		Data:                  [][]byte{bytes.Repeat([]byte{0x74}, size)}, // what would be a type that is not known
	})
}

// levels is a value that holds a value, and so on.
func levels(n int) []byte {
	return append(append([]byte{0, 0x53, 0x77}, bytes.Repeat([]byte{0, 0x44}, n)...), 0x40)
}

func readAll(t *testing.T, wire []byte, wary bool) []byte {
	t.Helper()
	var all [][]byte
	for _, r := range []io.Reader{bytes.NewReader(wire), iotest.OneByteReader(bytes.NewReader(wire)), iotest.HalfReader(bytes.NewReader(wire))} {
		f := newFrames(stream{r: r})
		f.wary.Store(wary)
		got, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, got)
	}
	if !bytes.Equal(all[0], all[1]) || !bytes.Equal(all[0], all[2]) {
		t.Fatal("what is read depends on how it arrives")
	}
	return all[0]
}

// TestFramesPassOn what is no offence, byte for byte.
func TestFramesPassOn(t *testing.T) {
	big := usual(t, 300_000)
	wire := bytes.Join([][]byte{
		[]byte("AMQP\x03\x01\x00\x00"),
		{0, 0, 0, 12, 2, 1, 0, 0, 0, 0x53, 0x44, 0x45}, // SASL
		[]byte("AMQP\x00\x01\x00\x00"),
		frameOf([]byte{0, 0x53, 0x10, 0xc0, 3, 1, 0xa1, 0}), // open
		{0, 0, 0, 8, 2, 0, 0, 0},                            // a heartbeat
		transferOf(0, false, usual(t, 10)),
		transferOf(1, true, big[:100_000]),
		transferOf(2, true, usual(t, 40)[:7]), // of another link, in between
		transferOf(1, true, big[100_000:100_001]),
		transferOf(2, false, usual(t, 40)[7:]),
		transferOf(1, true, nil),
		transferOf(1, false, big[100_001:200_000]),
		transferOf(0, false, nil),
		frameOf([]byte{0, 0x53, 0x17, 0x45}), // end
	}, nil)
	for _, wary := range []bool{false, true} {
		if got := readAll(t, wire, wary); !bytes.Equal(got, wire) {
			t.Errorf("wary %v: %d bytes became %d", wary, len(wire), len(got))
		}
	}
}

// TestFramesReplace what would end the link or the process.
func TestFramesReplace(t *testing.T) {
	char := marshal(t, &amqp.Message{ApplicationProperties: map[string]any{"c": uint32(0xdeadbeef)}, Data: [][]byte{[]byte("x")}})
	char = bytes.Replace(char, []byte{0x70, 0xde, 0xad, 0xbe, 0xef}, []byte{0x73, 0xde, 0xad, 0xbe, 0xef}, 1)
	wrong := marshal(t, &amqp.Message{Properties: &amqp.MessageProperties{ReplyTo: str("binary")}, Data: [][]byte{[]byte("x")}})
	wrong = bytes.Replace(wrong, []byte("\xa1\x06binary"), []byte("\xa0\x06binary"), 1)
	long := levels(50_000)
	good := transferOf(0, false, usual(t, 5))
	for _, tt := range []struct {
		name     string
		wire     [][]byte
		wary     bool
		replaced bool // else it is taken back
	}{
		{"levels", [][]byte{transferOf(0, false, levels(maxNesting))}, false, true},
		{"levels over frames", [][]byte{transferOf(0, true, long[:60_000]), transferOf(0, true, long[60_000:90_000]), transferOf(0, false, long[90_000:])}, false, true},
		{"levels behind a body", [][]byte{transferOf(0, true, usual(t, 10)), transferOf(0, true, long), transferOf(0, false, long)}, false, false},
		{"a type that is not known", [][]byte{transferOf(0, false, char)}, false, true},
		{"a type that does not belong there", [][]byte{transferOf(0, false, wrong)}, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := readAll(t, bytes.Join(append(tt.wire, good), nil), tt.wary)
			if !bytes.HasSuffix(got, good) {
				t.Error("the message behind it is not passed on")
			}
			if contains := bytes.Contains(got, []byte(unreadable)); contains != tt.replaced {
				t.Errorf("replaced %v", contains)
			}
			if !tt.replaced && !bytes.Contains(got, takenBack(tt.wire[0], transferFields{})) {
				t.Error("it was not taken back")
			}
			if len(got) > 2000 {
				t.Errorf("%d bytes are passed on", len(got))
			}
		})
	}
	var m amqp.Message
	if err := m.UnmarshalBinary([]byte(unreadable)); err != nil || *m.Properties.ContentType != "unreadable" {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(bytes.Join([][]byte{[]byte("AMQP\x00\x01\x00\x00"), transferOf(0, true, usual(f, 9)[:30]), transferOf(0, false, usual(f, 9)[30:])}, nil), false)
	f.Add(transferOf(3, false, levels(100)), true)
	f.Add(append(transferOf(1, true, levels(10)), transferOf(1, false, levels(90))...), false)
	f.Fuzz(func(t *testing.T, wire []byte, wary bool) {
		r := newFrames(stream{r: bytes.NewReader(wire)})
		r.wary.Store(wary)
		got, _ := io.ReadAll(r)
		if len(got) > len(wire)+len(wire)/transferHead*(len(unreadable)+32) {
			t.Errorf("%d bytes became %d", len(wire), len(got))
		}
	})
}

// FuzzScan: what passes is no deeper than the library can bear, which it shows.
func FuzzScan(f *testing.F) {
	f.Add(usual(f, 9))
	f.Add(levels(40))
	f.Add(levels(4000))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var whole, parts scan
		ok := whole.feed(payload)
		for i := range payload {
			if !parts.feed(payload[i : i+1]) {
				if ok {
					t.Fatal("it passes whole and not in parts")
				}
				return
			}
		}
		if !ok {
			t.Fatal("it passes in parts and not whole")
		}
		_ = new(amqp.Message).UnmarshalBinary(payload)
	})
}
