package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

func payloadCases() []Case {
	return group("cast",
		must("cast_payload_sizes", "Sizes around every boundary of frames must arrive whole, and a message that is too large must be an error of its own, not of the connection.", payloadSizes),
		must("cast_binary_and_non_utf8", "Arguments are data: no byte in them may end, split or change them.", payloadBinary),
		must("cast_headers_weird_strings", "What travels beside the arguments is the application's text, whatever characters it has.", payloadContext),
	)
}

// compact returns JSON text without what does not matter.
func compact(text []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return fmt.Sprintf("%q (%v)", text, err)
	}
	return b.String()
}

// digest stands for a long text in errors.
func digest(s string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return fmt.Sprintf("%d bytes, %x", len(s), h.Sum64())
}

// payloadSizesOf returns lengths of text around the frame sizes of usual
// transports. The envelope around the text is of unknown length, so the two
// most common boundaries, 4 KiB and 128 KiB, are approached in steps.
func payloadSizesOf() []int {
	sizes := []int{0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 20}
	for _, frame := range []int{4 << 10, 128 << 10} {
		for _, under := range []int{1024, 512, 256, 128, 64, 32, 9, 8, 7, 1, 0, -1} {
			sizes = append(sizes, frame-under)
		}
	}
	return sizes
}

func payloadSizes(t *trial) {
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	sizes := payloadSizesOf()
	// What a transport can carry at most, with room for the envelope.
	const most, envelope = 32 << 20, 4 << 10
	limit := t.caps.MaxMessage
	if largest := int(limit) - envelope; limit > 0 {
		sizes = slices.DeleteFunc(sizes, func(n int) bool { return n > largest })
		if largest > 0 && limit <= most {
			sizes = append(sizes, largest)
		}
	}
	for _, size := range sizes {
		t.roundTrip(s, sender, anyOf(topic), size)
	}
	t.prove("%d sizes, the largest %d bytes; the limit is %d", len(sizes), slices.Max(sizes), limit)
	if limit == 0 || limit > 4*most {
		return
	}
	big := messageWith(payload{Key: "too large", Text: strings.Repeat("x", int(limit)+1)})
	err := t.attemptEnvelope(sender, anyOf(topic), "too large", big, nil)
	if !errors.Is(err, messaging.ErrTooLarge) || fateOf(err) != notSent {
		t.errorf("sending more than %d bytes: %v, want ErrNotSent with ErrTooLarge", limit, err)
	}
	t.roundTrip(s, sender, anyOf(topic), 1)
	if n := sender.Stats().ConnsLost; n > 0 {
		t.errorf("%d connections were lost", n)
	}
}

// roundTrip sends a text of that size and compares what comes.
func (t *trial) roundTrip(s *messaging.Stream, tr *messaging.Transport, to messaging.Address, size int) {
	var b strings.Builder
	b.Grow(size)
	for i := range size {
		b.WriteByte('a' + byte((i+i/26)%26))
	}
	key := t.name(fmt.Sprintf("size %d-", size))
	t.check(t.attemptEnvelope(tr, to, key, messageWith(payload{Key: key, Text: b.String()}), nil), "sending %d bytes", size)
	in := t.poll(s, "s")
	t.settle(in, messaging.Ack)
	var got payload
	t.check(json.Unmarshal(in.Body, &got), "reading %d bytes", size)
	if got.Key != key || got.Text != b.String() {
		t.fatalf("of %d bytes arrived %s as %s, want %s as %s", size, digest(got.Text), got.Key, digest(b.String()), key)
	}
}

func payloadBinary(t *trial) {
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	binary, err := json.Marshal(every)
	t.check(err, "encoding")
	for what, text := range map[string]string{
		"all bytes in base64":    string(binary),
		"control characters":     `"\u0000\u0001\b\t\n\f\r\u001f\u007f"`,
		"a NUL inside":           `"before\u0000after"`,
		"quotes and slashes":     `"\"\\\/ \\\" \\\\n {\"oslo.message\":\"{}\"}"`,
		"line separators":        `"` + "\u2028\u2029\u0085" + `"`,
		"characters of 4 bytes":  `"😀𝄞` + "\U0010ffff" + `"`,
		"escaped surrogates":     `"\ud83d\ude00"`,
		"a lone surrogate":       `"\ud800"`,
		"large integers":         `[9007199254740993,-9223372036854775808,18446744073709551615]`,
		"a number beyond floats": `1e400`,
		"nested":                 `{"a":[{"b":[null,true,false,{}]},[]],"":""}`,
	} {
		body := `{"key":` + quote(what) + `,"value":` + text + `}`
		e := message(what)
		e.Body = []byte(body)
		t.check(t.attemptEnvelope(sender, anyOf(topic), what, e, nil), "sending %s", what)
		in := t.poll(s, "s")
		t.settle(in, messaging.Ack)
		if got := meaning(in.Body); got != meaning([]byte(body)) {
			t.errorf("%s arrived as %s, want %s", what, got, meaning([]byte(body)))
		}
	}
	t.notUTF8(s, sender, topic)
}

// notUTF8 sends what is no JSON text, since JSON is UTF-8: it may be refused or
// arrive, but the message behind it must come.
func (t *trial) notUTF8(s *messaging.Stream, sender *messaging.Transport, topic string) {
	e := message("not UTF-8")
	e.Body = []byte("{\"key\":\"not UTF-8\",\"value\":\"\xff\xfe\xc3\"}")
	err := t.attemptEnvelope(sender, anyOf(topic), "not UTF-8", e, nil)
	t.prove("a body that is not UTF-8 is %s", fateOf(err))
	t.send(sender, anyOf(topic), "fence/s")
	for {
		in := t.poll(s, "s")
		t.settle(in, messaging.Ack)
		if keyOf(in) == "fence/s" {
			return
		}
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(b)
}

// meaning returns JSON text in one form: codecs may escape in another way.
// Numbers keep their digits.
func meaning(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Sprintf("%q (%v)", text, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// weird are strings that have broken messaging systems as keys and as values.
func weird() []string {
	var control strings.Builder
	for r := rune(0); r < ' '; r++ {
		control.WriteRune(r)
	}
	return []string{
		"plain", "UPPER", "Mixed-Case_and.dots", "with space", " leading and trailing ",
		"a/b/c", "//", "../..", `back\slash`, `"quoted"`, "'", "a=b&c=d", "50%", "%41%00", "#", "*", "?", ":", ";",
		"~!@#$%^&*()_+`-=[]{}|", "<tag/>", "日本語", "☺ 😀", "e\u0301", "\u200b", "oslo.version", "_msg_id", "null", "0",
		strings.Repeat("long", 50), control.String(), "\x7f",
	}
}

func payloadContext(t *trial) {
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	e := message("weird")
	want := map[string]string{}
	for _, w := range weird() {
		e.Context = append(e.Context, messaging.ContextValue{Key: w, Value: []byte(quote(w))})
		want[w] = quote(w)
	}
	t.check(t.attemptEnvelope(sender, anyOf(topic), "weird", e, nil), "sending")
	in := t.poll(s, "s")
	t.settle(in, messaging.Ack)
	for _, c := range in.Context {
		value, ok := want[c.Key]
		if !ok {
			t.errorf("a context entry %q arrived that was never sent, or twice", c.Key)
			continue
		}
		delete(want, c.Key)
		if meaning(c.Value) != meaning([]byte(value)) {
			t.errorf("the context entry %q is %s, want %s", c.Key, c.Value, value)
		}
	}
	for key := range want {
		t.errorf("the context entry %q did not arrive", key)
	}
}
