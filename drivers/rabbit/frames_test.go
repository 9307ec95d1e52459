package rabbit

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/internal/coalesce"
)

// frame returns a frame of AMQP 0-9-1.
func frame(kind byte, payload []byte) []byte {
	b := []byte{kind, 0, 1}
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(append(b, payload...), frameEnd)
}

// header returns the payload of a header frame with that content type and table.
func header(contentType string, table []byte) []byte {
	b := []byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5}
	b = binary.BigEndian.AppendUint16(b, flagContentType|flagHeaders)
	b = append(append(b, byte(len(contentType))), contentType...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(table)))
	return append(b, table...)
}

func deep(levels int, kind byte) []byte {
	table := []byte{1, 'x', 'V'}
	for range levels {
		inside := table
		if kind == 'A' {
			inside = inside[min(2, len(inside)-1):] // no name
		}
		table = append([]byte{1, 'x', kind}, binary.BigEndian.AppendUint32(nil, uint32(len(inside)))...)
		table = append(table, inside...)
	}
	return table
}

func many(n int) []byte { return bytes.Repeat([]byte{1, 'x', 'V'}, n) }

func TestFrames(t *testing.T) {
	pad := append([]byte{1, 'p', 'S', 0, 0, 1, 0}, make([]byte, 256)...) // one entry, which makes a frame worth a look
	tests := []struct {
		name  string
		table []byte
		want  bool
	}{
		{"nothing", nil, true},
		{"every type", []byte("\x01aV\x01at\x00\x01ab\x00\x01aB\x00\x01as\x00\x00\x01au\x00\x00\x01aI\x00\x00\x00\x00\x01ai\x00\x00\x00\x00" +
			"\x01af\x00\x00\x00\x00\x01aD\x00\x00\x00\x00\x00\x01al\x00\x00\x00\x00\x00\x00\x00\x00\x01ad\x00\x00\x00\x00\x00\x00\x00\x00" +
			"\x01aT\x00\x00\x00\x00\x00\x00\x00\x00\x01aS\x00\x00\x00\x01x\x01ax\x00\x00\x00\x01x\x01aF\x00\x00\x00\x00\x01aA\x00\x00\x00\x00"), true},
		{"unknown type", []byte("\x01aZ"), false},
		{"32 tables", deep(32, 'F'), true},
		{"33 tables", deep(33, 'F'), false},
		{"8192 entries", many(8191), true},
		{"8193 entries", many(8192), false},
		{"name without an end", []byte("\x09a"), false},
		{"no value", []byte("\x01a"), false},
		{"text without an end", []byte("\x01aS\x00\x00\x00\x09x"), false},
		{"text of negative length", []byte("\x01aS\xff\xff\xff\xff"), false},
		{"half a length", []byte("\x01aS\x00\x00"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			payload := header("application/json", append(bytes.Clone(pad), tt.table...))
			method, body := frame(1, []byte("method")), frame(3, []byte("abcde"))
			want := frame(2, payload)
			if !tt.want {
				want = frame(2, header(unreadableType, nil)[:contentHead+1+len(unreadableType)])
				binary.BigEndian.PutUint16(want[frameHead+contentHead-2:], flagContentType)
			}
			in := bytes.Join([][]byte{method, frame(2, payload), body, method}, nil)
			want = bytes.Join([][]byte{method, want, body, method}, nil)
			for _, slow := range []bool{false, true} {
				if diff := cmp.Diff(want, through(t, in, slow)); diff != "" {
					t.Errorf("read one byte at a time: %v (-want +got):\n%.500s", slow, diff)
				}
			}
		})
	}
}

// through returns what a reader of frames gets of in.
func through(t *testing.T, in []byte, slow bool) []byte {
	t.Helper()
	ours, peers := net.Pipe()
	c := coalesce.New(ours, coalesce.Options{})
	defer c.Abort()
	go func() {
		_, _ = peers.Write(in)
		_ = peers.Close()
	}()
	var r io.Reader = newFrames(c)
	if slow {
		r = iotest.OneByteReader(r)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// FuzzReadable: whatever a broker sends, looking at it ends, within the payload.
func FuzzReadable(f *testing.F) {
	for _, table := range [][]byte{nil, deep(3, 'F'), deep(3, 'A'), many(3), []byte("\x01aS\xff\xff\xff\xff")} {
		f.Add(header("application/json", table))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) < contentHead {
			return
		}
		readable(payload)
		if made := unreadable(frame(2, payload)); !bytes.Equal(made[frameHead:frameHead+contentHead-2], payload[:contentHead-2]) {
			t.Errorf("the size of the body got lost: %x", made)
		}
	})
}
