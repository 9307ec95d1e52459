package rabbit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/messaging"
)

// frameOf returns a frame of AMQP 0-9-1.
func frameOf(kind byte, channel uint16, payload []byte) []byte {
	b, at := beginFrame(nil, kind, channel)
	return endFrame(append(b, payload...), at)
}

// delivery returns the frames of a message that is delivered.
func delivery(m *messaging.Message, tag uint64, redelivered bool, r route, pieces int) []byte {
	p := appendShort(appendMethod(nil, basicDeliver), "consumer")
	p = append(binary.BigEndian.AppendUint64(p, tag), bit(redelivered))
	p = appendShort(appendShort(p, r.exchange.name), r.key)
	return append(frameOf(frameMethod, 1, p), content(m, pieces)...)
}

// content returns the frames of a message but for the first.
func content(m *messaging.Message, pieces int) []byte {
	h := binary.BigEndian.AppendUint64([]byte{0, 60, 0, 0}, uint64(len(m.Body)))
	out := frameOf(frameHeader, 1, appendProperties(h, m, m.ID))
	for body := m.Body; len(body) > 0; {
		n := max(1, len(m.Body)/pieces)
		n = min(n, len(body))
		out = append(out, frameOf(frameBody, 1, body[:n])...)
		body = body[n:]
	}
	return out
}

// peer is a channel whose frames the test makes.
type peer struct {
	f    *frames
	ch   *channel
	read []byte // what the library would have read
	err  error

	delivered []arrival
	returned  []string
	confirmed []uint64 // negative: not taken
	gets      []uint64
	flowed    int
}

// receive passes in to a channel 1 that takes everything.
func receive(t *testing.T, in []byte, slow bool) *peer {
	t.Helper()
	ours, theirs := net.Pipe()
	c := coalesce.New(ours, coalesce.Options{})
	defer c.Abort()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = theirs.Write(in)
		_ = theirs.Close()
	}()
	p := &peer{f: newFrames(c, 1<<20)}
	p.f.opened = 1
	p.ch = &channel{told: &told{
		deliver: func(a *arrival) {
			got := *a
			got.exchange, got.key = bytes.Clone(a.exchange), bytes.Clone(a.key)
			p.delivered = append(p.delivered, got)
		},
		returns: func(a *arrival) { p.returned = append(p.returned, a.ID) },
		confirm: func(n uint64, multiple, taken bool) {
			p.confirmed = append(p.confirmed, n, uint64(bit(multiple)), uint64(bit(taken)))
		},
		flowed: func() { p.flowed++ },
		got: func(a *arrival) {
			if a == nil {
				p.gets = append(p.gets, 0)
			} else {
				p.gets = append(p.gets, a.tag)
			}
		},
	}}
	p.f.add(p.ch)
	var r io.Reader = p.f
	if slow {
		r = iotest.OneByteReader(r)
	}
	p.read, p.err = io.ReadAll(r)
	c.Abort()
	<-written
	return p
}

func settledAs(m method, number uint64, multiple bool) []byte {
	return frameOf(frameMethod, 1, append(binary.BigEndian.AppendUint64(appendMethod(nil, m), number), bit(multiple)))
}

// TestFramesAreTaken: what comes with messages goes to the channel, all else to
// the library, whole and in order.
func TestFramesAreTaken(t *testing.T) {
	message := &messaging.Message{ID: "id", ContentType: "application/json", Body: []byte("0123456789")}
	other := frameOf(frameMethod, 1, append(appendMethod(nil, channelClose), "something"...))
	elsewhere := bytes.Join([][]byte{
		frameOf(frameMethod, 2, appendMethod(nil, basicDeliver)), frameOf(frameHeader, 2, []byte("h")), frameOf(frameBody, 2, []byte("b")),
		frameOf(frameHeartbeat, 0, nil), frameOf(frameBody, 1, []byte("of no message")),
	}, nil)
	ret := appendShort(append(appendMethod(nil, basicReturn), 1, 56), "NO_ROUTE")
	ret = frameOf(frameMethod, 1, appendShort(appendShort(ret, "x"), "k"))
	get := append(binary.BigEndian.AppendUint64(appendMethod(nil, basicGetOK), 9), 0)
	get = frameOf(frameMethod, 1, append(appendShort(appendShort(get, "x"), "k"), 0, 0, 0, 0))
	in := bytes.Join([][]byte{
		elsewhere, delivery(message, 7, true, route{exchange: exchange{name: "x"}, key: "k"}, 3), other,
		ret, content(message, 1), settledAs(basicAck, 3, true), settledAs(basicNack, 4, false),
		get, content(&messaging.Message{}, 1), frameOf(frameMethod, 1, append(appendMethod(nil, basicGetEmpty), 0)),
		delivery(&messaging.Message{}, 8, false, route{}, 1), frameOf(frameMethod, 1, append(appendMethod(nil, channelFlowOK), 1)), elsewhere,
	}, nil)
	for _, slow := range []bool{false, true} {
		p := receive(t, in, slow)
		if p.err != nil {
			t.Fatal(p.err)
		}
		left := bytes.ReplaceAll(p.read, heartbeat[:], nil)
		want := bytes.ReplaceAll(bytes.Join([][]byte{elsewhere, other, elsewhere}, nil), heartbeat[:], nil)
		if diff := cmp.Diff(want, left); diff != "" {
			t.Errorf("slow %v: left to the library (-want +got):\n%s", slow, diff)
		}
		if len(p.delivered) != 2 {
			t.Fatalf("delivered %d messages, want 2", len(p.delivered))
		}
		a := p.delivered[0]
		if a.tag != 7 || !a.redelivered || string(a.exchange) != "x" || string(a.key) != "k" || string(a.Body) != "0123456789" || a.ID != "id" {
			t.Errorf("delivered %+v", a)
		}
		if b := p.delivered[1]; b.tag != 8 || b.redelivered || len(b.Body) != 0 || b.ID != "" {
			t.Errorf("delivered %+v", b)
		}
		if diff := cmp.Diff([]string{"id"}, p.returned); diff != "" {
			t.Errorf("returned (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]uint64{3, 1, 1, 4, 0, 0}, p.confirmed); diff != "" {
			t.Errorf("confirmed (-want +got):\n%s", diff)
		}
		if p.flowed != 1 {
			t.Errorf("told %d times of channel.flow-ok, want 1", p.flowed)
		}
		if diff := cmp.Diff([]uint64{9, 0}, p.gets); diff != "" {
			t.Errorf("got (-want +got):\n%s", diff)
		}
	}
}

// TestTheLibraryIsToldThatThePeerLives, although nothing comes that is for it.
func TestTheLibraryIsToldThatThePeerLives(t *testing.T) {
	p := receive(t, settledAs(basicAck, 1, false), false)
	if !bytes.Equal(p.read, heartbeat[:]) {
		t.Errorf("the library reads %x, want a heartbeat", p.read)
	}
}

func TestBadFrames(t *testing.T) {
	begun := delivery(&messaging.Message{Body: []byte("0123")}, 1, false, route{}, 1)
	begun = begun[:len(begun)-4-frameHead-1] // without its body
	broken := settledAs(basicAck, 1, false)
	broken[len(broken)-1] = 'x'
	for name, in := range map[string][]byte{
		"no end":                       broken,
		"method without a number":      frameOf(frameMethod, 1, []byte{0, 60}),
		"acknowledgement cut off":      frameOf(frameMethod, 1, append(appendMethod(nil, basicAck), 1, 2)),
		"delivery cut off":             frameOf(frameMethod, 1, append(appendMethod(nil, basicDeliver), 200)),
		"header cut off":               append(begun[:bytes.Index(begun, []byte{frameHeader, 0, 1})], frameOf(frameHeader, 1, []byte{0, 60})...),
		"body larger than announced":   append(bytes.Clone(begun), frameOf(frameBody, 1, []byte("01234"))...),
		"two headers":                  append(bytes.Clone(begun), content(&messaging.Message{}, 1)...),
		"larger than any can be":       append([]byte{frameMethod, 0, 1, 0x80, 0, 0, frameEnd}, make([]byte, 100)...),
		"something of an unknown kind": append(bytes.Clone(begun), frameOf(99, 1, nil)...),
	} {
		if p := receive(t, in, false); !errors.Is(p.err, errBadFrame) {
			t.Errorf("%s: error %v, want errBadFrame", name, p.err)
		}
	}
}

// TestBodyOverTheLimit: nothing is kept of it, and the next message arrives.
func TestBodyOverTheLimit(t *testing.T) {
	big := &messaging.Message{ContentType: "application/json", Body: make([]byte, 1<<20+1)}
	in := append(delivery(big, 1, false, route{}, 20), delivery(&messaging.Message{Body: []byte("next")}, 2, false, route{}, 1)...)
	p := receive(t, in, false)
	if p.err != nil || len(p.delivered) != 2 {
		t.Fatalf("%d messages, error %v", len(p.delivered), p.err)
	}
	if a := p.delivered[0]; a.Body != nil || !strings.Contains(a.ContentType, "1048577 bytes") {
		t.Errorf("of what is too large %d bytes were kept, content type %q", len(a.Body), a.ContentType)
	}
	if a := p.delivered[1]; string(a.Body) != "next" {
		t.Errorf("then came %+v", a)
	}
}

// TestContentSurvives sends any message through both ends of the codec.
func TestContentSurvives(t *testing.T) {
	text := rapid.StringN(0, 50, 255)
	rapid.Check(t, func(t *rapid.T) {
		want := messaging.Message{
			ID: text.Draw(t, "id"), CorrelationID: text.Draw(t, "correlation"), ReplyTo: text.Draw(t, "reply"),
			ContentType: text.Draw(t, "type"), ContentEncoding: text.Draw(t, "encoding"),
			Priority: rapid.Byte().Draw(t, "priority"), Durable: true, Body: rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "headers") {
			want.Headers = append(want.Headers, messaging.Header{
				Key: string(rune('a'+i)) + rapid.StringN(0, 20, 200).Draw(t, "key"), Value: rapid.String().Draw(t, "value"),
			})
		}
		f := &frames{maxBody: 1 << 20}
		var got []arrival
		ch := &channel{f: f, told: &told{deliver: func(a *arrival) { got = append(got, *a) }}}
		in := delivery(&want, 5, false, route{key: "k"}, rapid.IntRange(1, 5).Draw(t, "pieces"))
		for len(in) > 0 {
			size := int(binary.BigEndian.Uint32(in[3:]))
			if took, err := ch.take(in[0], in[frameHead:frameHead+size]); !took || err != nil {
				t.Fatal(took, err)
			}
			in = in[frameHead+size+1:]
		}
		if len(got) != 1 {
			t.Fatalf("%d messages", len(got))
		}
		if diff := cmp.Diff(want, got[0].Message, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("-sent +received:\n%s", diff)
		}
	})
}

// FuzzTake: whatever a broker sends, reading it ends, and keeps no more than came.
func FuzzTake(f *testing.F) {
	f.Add(delivery(&messaging.Message{ContentType: "application/json", Body: []byte("{}"), Headers: []messaging.Header{{Key: "k", Value: "v"}}}, 1, true, route{key: "k"}, 2))
	f.Add(settledAs(basicAck, 1<<63, true))
	f.Add(append(delivery(&messaging.Message{}, 1, false, route{}, 1), 1, 2, 3))
	f.Fuzz(func(t *testing.T, in []byte) {
		kept := 0
		ch := &channel{f: &frames{maxBody: 1 << 10}, told: &told{
			deliver: func(a *arrival) { kept += len(a.Body) },
			got:     func(*arrival) {},
			returns: func(*arrival) {},
			confirm: func(uint64, bool, bool) {},
			flowed:  func() {},
		}}
		rest := in
		for len(rest) > frameHead {
			size := min(int(binary.BigEndian.Uint32(rest[3:])), len(rest)-frameHead)
			if _, err := ch.take(rest[0], rest[frameHead:frameHead+size]); err != nil {
				break
			}
			rest = rest[min(len(rest), frameHead+size+1):]
		}
		if kept > len(in) {
			t.Errorf("%d bytes were kept of %d", kept, len(in))
		}
	})
}

// sink is a connection that keeps what is written.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (s *sink) Read(p []byte) (int, error)  { return s.Conn.Read(p) }
func (s *sink) Write(p []byte) (int, error) { return s.Buffer.Write(p) }

// TestFramesStayWhole: the library writes in pieces, and what we write does not
// come between them, nor on a channel that is closed.
func TestFramesStayWhole(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := &sink{Conn: ours}
	f := newFrames(coalesce.New(s, coalesce.Options{}), 0)
	write := func(b []byte) {
		t.Helper()
		if n, err := f.Write(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}
	open := frameOf(frameMethod, 3, append(appendMethod(nil, channelOpen), 0))
	declare := frameOf(frameMethod, 3, bytes.Repeat([]byte("x"), 5000))
	closing := frameOf(frameMethod, 3, append(appendMethod(nil, channelClose), 0))
	ours1, ours2 := settledAs(basicAck, 1, false), settledAs(basicAck, 2, false)

	write([]byte("AMQP\x00\x00\x09\x01"))
	write(open)
	ch := &channel{told: &told{}}
	f.add(ch)
	if ch.number != 3 {
		t.Errorf("the channel has number %d, want 3", ch.number)
	}
	write(declare[:4096])
	if err := f.send(ch, ours1); err != nil {
		t.Fatal(err)
	}
	write(declare[4096:])
	write(closing[:5])
	if err := f.send(ch, ours2); err != nil {
		t.Fatal(err)
	}
	write(closing[5:])
	if err := f.send(ch, ours2); !errors.Is(err, errChannelClosed) {
		t.Errorf("sending on a channel that is closed: %v", err)
	}
	write(open) // another one, with the same number
	if (*f.channels.Load())[3] != nil {
		t.Error("the old channel still receives")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := bytes.Join([][]byte{[]byte("AMQP\x00\x00\x09\x01"), open, ours1, declare, ours2, closing, open}, nil)
	if diff := cmp.Diff(want, s.Bytes()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}
