package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// decodes checks what holds for whatever is decoded: no panic, the right
// error, and an envelope that is encoded and decoded again to the same.
func decodes(t *testing.T, codec messaging.Codec, m *messaging.Message, kind messaging.Kind) bool {
	t.Helper()
	before := bytes.Clone(m.Body)
	e := messaging.Envelope{Kind: kind}
	err := codec.Decode(m, &e)
	if !bytes.Equal(before, m.Body) {
		t.Fatalf("decoding changed the body to %q", m.Body)
	}
	if err != nil {
		if !errors.Is(err, messaging.ErrUndecodable) {
			t.Fatalf("error %v is not ErrUndecodable", err)
		}
		return false
	}
	again := encodeDecode(t, codec, &e)
	if diff := cmp.Diff(normal(&e), normal(again)); diff != "" {
		t.Fatalf("%s: decoded, and decoded again (-first +second):\n%s", m.Body, diff)
	}
	return true
}

func encodeDecode(t *testing.T, codec messaging.Codec, e *messaging.Envelope) *messaging.Envelope {
	t.Helper()
	var m messaging.Message
	if err := codec.Encode(e, &m); err != nil {
		t.Fatalf("encoding %+v: %v", e, err)
	}
	if !codec.Accepts(&m) {
		t.Fatalf("%s does not accept what it encoded", codec.Name())
	}
	again := &messaging.Envelope{Kind: e.Kind}
	if err := codec.Decode(&m, again); err != nil {
		t.Fatalf("decoding %s: %v", m.Body, err)
	}
	return again
}

// normal returns a copy of e with its JSON text parsed and printed, as far as
// it is JSON, so that blanks and escapes do not count.
func normal(e *messaging.Envelope) *messaging.Envelope {
	n := *e
	n.Body = normalJSON(e.Body)
	n.Context = nil
	for _, c := range e.Context {
		n.Context = append(n.Context, messaging.ContextValue{Key: c.Key, Value: normalJSON(c.Value)})
	}
	return &n
}

func normalJSON(text []byte) []byte {
	if !json.Valid(text) {
		return nil // NaN and its kind: TestOsloEncode has them
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// plainJSON reports whether text is JSON that both we and encoding/json must
// judge alike: it has neither Python's words nor what is not UTF-8, and is not deep.
func plainJSON(text string) bool {
	return !strings.Contains(text, "NaN") && !strings.Contains(text, "Infinity") &&
		strings.ToValidUTF8(text, "") == text && strings.Count(text, "[")+strings.Count(text, "{") < 500
}

func FuzzDecodeOslo(f *testing.F) {
	for _, v := range vectors(f) {
		m := v.message()
		compression, _ := m.Header("compression")
		f.Add(m.Body, compression)
	}
	codec := wire.Oslo(1 << 16)
	f.Fuzz(func(t *testing.T, body []byte, compression string) {
		for _, kind := range []messaging.Kind{messaging.KindRPC, messaging.KindReply, messaging.KindNotify} {
			m := osloMessage(string(body))
			if compression != "" {
				compressed(m, compression, m.Body)
			}
			decodes(t, codec, m, kind)
		}
	})
}

func FuzzDecodeNative(f *testing.F) {
	f.Add("u", "c", "r", "pb-method", "m", "pb-context", `{"a": [1, "x"]}`, `{"a": 1.5e3}`)
	f.Add("", "c", "", "pb-failed", "true", "pb-heartbeat", "true", `null`)
	f.Add("", "c", "r", "pb-timeout-ms", "60000", "pb-monitor-ms", "1", `[NaN, -Infinity]`)
	codec := wire.Native(1 << 16)
	f.Fuzz(func(t *testing.T, id, correlationID, replyTo, key1, value1, key2, value2, body string) {
		for _, kind := range []messaging.Kind{messaging.KindRPC, messaging.KindReply, messaging.KindNotify} {
			m := &messaging.Message{
				ID: id, CorrelationID: correlationID, ReplyTo: replyTo, Body: []byte(body),
				Headers: []messaging.Header{
					{Key: key1, Value: strings.ToValidUTF8(value1, "")},
					{Key: key2, Value: strings.ToValidUTF8(value2, "")},
				},
			}
			decodes(t, codec, m, kind)
		}
		reply := &messaging.Message{CorrelationID: "c", Body: []byte(body)}
		if ok := decodes(t, codec, reply, messaging.KindReply); plainJSON(body) && body != "" && ok != json.Valid([]byte(body)) {
			t.Fatalf("%q is decoded: %v; valid JSON: %v", body, ok, !ok)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(0), "u", "c", "r", "m", "n", "1.2", "k", `{"v": "é"}`, `{"a": 1}`, int64(1500), true, true)
	f.Add(uint8(1), "u", "c", "", "", "", "", "", `1`, `"\ud83d\ude00\u0000\\"`, int64(0), true, false)
	f.Add(uint8(1), "", "c\"\\", "", "", "", "", "", ``, `{"class": "E\n"}`, int64(0), true, true)
	f.Add(uint8(2), "u", "", "", "", "", "", "\x00\xff😀", `null`, `{"payload": {"a": [1e400, -0]}}`, int64(0), false, true)
	codecs := []messaging.Codec{wire.Oslo(0), wire.Native(0)}
	f.Fuzz(func(t *testing.T, kind uint8, id, callID, replyTo, method, namespace, version, key, value, body string, millis int64, final, flag bool) {
		for _, s := range []*string{&id, &callID, &replyTo, &method, &namespace, &version, &key} {
			*s = strings.ToValidUTF8(*s, "")
		}
		if len(key) > 1000 || !plainJSON(body) || !plainJSON(value) || !json.Valid([]byte(body)) || !json.Valid([]byte(value)) {
			return
		}
		context := []messaging.ContextValue{{Key: key, Value: []byte(value)}, {Key: key + "2", Value: []byte("[]")}}
		e := &messaging.Envelope{Kind: messaging.Kind(kind % 3), ID: id, Body: []byte(body)}
		switch e.Kind {
		case messaging.KindRPC:
			e.Method, e.Namespace, e.Version, e.Context = "m"+method, namespace, "1"+version, context
			if callID != "" && replyTo != "" {
				e.CallID, e.ReplyTo = callID, replyTo
				e.Monitor = time.Duration(millis%1e9) * time.Millisecond
				e.Monitor = max(e.Monitor, -e.Monitor)
			}
		case messaging.KindReply:
			e.CallID, e.Final, e.Failed = "c"+callID, final, final && flag
		case messaging.KindNotify:
			e.Context = context
			if strings.Trim(body, " \t\r\n")[0] != '{' {
				return
			}
		}
		for _, codec := range codecs {
			e.Bare = flag && e.Kind == messaging.KindNotify && codec.Name() == "oslo"
			want := normal(e)
			if e.Kind == messaging.KindReply && !final && string(want.Body) == "null" {
				want.Body = nil // a heartbeat
			}
			if e.Kind == messaging.KindNotify && codec.Name() == "oslo" && hasReserved(want.Body) {
				continue // names of the format itself do not come back as payload
			}
			got := normal(encodeDecode(t, codec, e))
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", codec.Name(), diff)
			}
		}
	})
}

// hasReserved reports whether a notification has members with names that the
// oslo format uses itself.
func hasReserved(object []byte) bool {
	for _, name := range []string{`"_unique_id"`, `"_context_`, `"oslo.version"`, `"oslo.message"`} {
		if bytes.Contains(object, []byte(name)) {
			return true
		}
	}
	return false
}
