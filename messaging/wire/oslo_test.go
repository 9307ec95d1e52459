package wire_test

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// enveloped returns a message with inner in an envelope, which it is put into
// by hand and not by the codec.
func enveloped(inner string) *messaging.Message {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(inner)
	return osloMessage(`{"oslo.version": "2.0", "oslo.message": "` + quoted + `"}`)
}

// nested returns n arrays in each other.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestOsloDecodeRequest(t *testing.T) {
	type contexts = []messaging.ContextValue
	base := messaging.Envelope{Method: "m", Version: "1.0", Body: []byte("{}")}
	with := func(change func(*messaging.Envelope)) messaging.Envelope {
		e := base
		change(&e)
		return e
	}
	call := func(e *messaging.Envelope) { e.CallID, e.ReplyTo = "c1", "r1" }
	body := func(text string) messaging.Envelope {
		return with(func(e *messaging.Envelope) { e.Body = []byte(text) })
	}
	monitor := func(d time.Duration) messaging.Envelope {
		return with(func(e *messaging.Envelope) { call(e); e.Monitor = d })
	}
	tests := []struct {
		name, inner string
		want        messaging.Envelope
	}{
		{"least", `{"method": "m"}`, base},
		{"blanks, other order, unknown keys", " {\n\t\"later\" :[ ] ,\"args\": { \"a\" : 1 }\r\n, \"method\":\"m\",\"_x\":{}} ", body(`{ "a" : 1 }`)},
		{"large integers keep their digits", `{"method": "m", "args": {"n": 1180591620717411303424, "m": 9007199254740993}}`, body(`{"n": 1180591620717411303424, "m": 9007199254740993}`)},
		{"Python's numbers", `{"method": "m", "args": {"a": NaN, "b": [Infinity, -Infinity], "c": 1e+20, "d": -0.0}}`, body(`{"a": NaN, "b": [Infinity, -Infinity], "c": 1e+20, "d": -0.0}`)},
		{"raw UTF-8", `{"method": "é世😀"}`, with(func(e *messaging.Envelope) { e.Method = "é世😀" })},
		{"escapes", `{"m\u0065thod": "\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t"}`, with(func(e *messaging.Envelope) { e.Method = "é😀\"\\/\b\f\n\r\t" })},
		{"halves of surrogate pairs", `{"method": "\ud83d-\ude00-\ud83d\u0041-\ud83d\ud83d\ude00"}`, with(func(e *messaging.Envelope) { e.Method = "\ufffd-\ufffd-\ufffdA-\ufffd😀" })},
		{"of the same keys the last counts", `{"method": "x", "args": [], "method": "m", "args": {}, "_context_a": 1, "_context_b": 2, "_context_a": 3}`, with(func(e *messaging.Envelope) {
			e.Context = contexts{{Key: "a", Value: []byte("3")}, {Key: "b", Value: []byte("2")}}
		})},
		{"context in order, empty and escaped keys", `{"_context_z": null, "method": "m", "_context_": {"x": [1, 2]}, "_context_\u00e9": "v"}`, with(func(e *messaging.Envelope) {
			e.Context = contexts{{Key: "z", Value: []byte("null")}, {Key: "", Value: []byte(`{"x": [1, 2]}`)}, {Key: "é", Value: []byte(`"v"`)}}
		})},
		{"namespace", `{"method": "m", "namespace": "n"}`, with(func(e *messaging.Envelope) { e.Namespace = "n" })},
		{"namespace null", `{"method": "m", "namespace": null}`, base},
		{"version null is not version absent", `{"method": "m", "version": null}`, with(func(e *messaging.Envelope) { e.Version = "None" })},
		{"empty version", `{"method": "m", "version": ""}`, base},
		{"version as a number", `{"method": "m", "version": 1.10}`, with(func(e *messaging.Envelope) { e.Version = "1.10" })},
		{"args null", `{"method": "m", "args": null}`, body("null")},
		{"call", `{"method": "m", "_msg_id": "c1", "_reply_q": "r1", "_timeout": null, "_unique_id": "u1"}`, with(func(e *messaging.Envelope) { call(e); e.ID = "u1" })},
		{"call without a method: the caller is told", `{"_msg_id": "c1", "_reply_q": "r1"}`, with(func(e *messaging.Envelope) { call(e); e.Method = "" })},
		{"message id without a reply queue is a cast", `{"method": "m", "_msg_id": "c1", "_timeout": 4}`, base},
		{"monitor", `{"method": "m", "_msg_id": "c1", "_reply_q": "r1", "_timeout": 4}`, monitor(4 * time.Second)},
		{"monitor with a fraction", `{"method": "m", "_msg_id": "c1", "_reply_q": "r1", "_timeout": 2.9}`, monitor(2900 * time.Millisecond)},
		{"monitor as text is none", `{"method": "m", "_msg_id": "c1", "_reply_q": "r1", "_timeout": "abc"}`, monitor(0)},
		{"monitor below zero is none", `{"method": "m", "_msg_id": "c1", "_reply_q": "r1", "_timeout": -5}`, monitor(0)},
		{"monitor without end is none", `{"method": "m", "_msg_id": "c1", "_reply_q": "r1", "_timeout": 1e300}`, monitor(0)},
		{"deepest", `{"method": "m", "args": ` + nested(511) + `}`, body(nested(511))},
	}
	codec := wire.Oslo(0)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for form, m := range map[string]*messaging.Message{"version 2": enveloped(tt.inner), "version 1": osloMessage(tt.inner)} {
				e := messaging.Envelope{Kind: messaging.KindRPC, Failed: true, Timeout: 1, Bare: true, ID: "old", Context: make(contexts, 1)}
				if err := codec.Decode(m, &e); err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if diff := cmp.Diff(tt.want, e, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", form, diff)
				}
			}
		})
	}
}

func TestOsloDecodeReply(t *testing.T) {
	tests := []struct {
		name, inner string
		want        messaging.Envelope
	}{
		{"result", `{"result": {"a": 1}, "failure": null, "ending": true, "_msg_id": "c", "_unique_id": "u"}`, messaging.Envelope{ID: "u", CallID: "c", Final: true, Body: []byte(`{"a": 1}`)}},
		{"null result", `{"result": null, "failure": null, "ending": true, "_msg_id": "c"}`, messaging.Envelope{CallID: "c", Final: true, Body: []byte("null")}},
		{"no result", `{"ending": true, "_msg_id": "c"}`, messaging.Envelope{CallID: "c", Final: true, Body: []byte("null")}},
		{"heartbeat", `{"result": null, "failure": null, "ending": false, "_msg_id": "c"}`, messaging.Envelope{CallID: "c"}},
		{"a result whose end comes later", `{"result": 5, "failure": null, "_msg_id": "c"}`, messaging.Envelope{CallID: "c", Body: []byte("5")}},
		{"failure", `{"result": null, "failure": "{\"class\": \"E\", \"n\": NaN}", "ending": true, "_msg_id": "c"}`, messaging.Envelope{CallID: "c", Final: true, Failed: true, Body: []byte(`{"class": "E", "n": NaN}`)}},
		{"failure that is no JSON inside", `{"failure": "boom", "ending": true, "_msg_id": "c"}`, messaging.Envelope{CallID: "c", Final: true, Failed: true, Body: []byte(`"boom"`)}},
		{"failure that is no string", `{"failure": {"class": "E"}, "ending": true, "_msg_id": "c"}`, messaging.Envelope{CallID: "c", Final: true, Failed: true, Body: []byte(`{"class": "E"}`)}},
		{"empty failure is none", `{"result": 1, "failure": "", "ending": true, "_msg_id": "c"}`, messaging.Envelope{CallID: "c", Final: true, Body: []byte("1")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := messaging.Envelope{Kind: messaging.KindReply}
			if err := wire.Oslo(0).Decode(enveloped(tt.inner), &got); err != nil {
				t.Fatal(err)
			}
			tt.want.Kind = messaging.KindReply
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOsloDecodeNotification(t *testing.T) {
	tests := []struct{ name, inner, want string }{
		{"empty", `{}`, `{}`},
		{"only ours", `{"_unique_id": "u", "_context_a": 1}`, `{}`},
		{"ours among others", `{"_context_a": 1, "event_type" : "e", "_unique_id": "u", "payload":{"x":[1]}}`, `{"event_type" : "e", "payload":{"x":[1]}}`},
		{"escaped names", `{"ev\u0065nt": 1, "_unique\u005fid": "u"}`, `{"ev\u0065nt": 1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for bare, m := range map[bool]*messaging.Message{false: enveloped(tt.inner), true: osloMessage(tt.inner)} {
				got := messaging.Envelope{Kind: messaging.KindNotify}
				if err := wire.Oslo(0).Decode(m, &got); err != nil {
					t.Fatal(err)
				}
				if string(got.Body) != tt.want || got.Bare != bare {
					t.Errorf("body %s, bare %v, want %s, %v", got.Body, got.Bare, tt.want, bare)
				}
				if string(m.Body) != tt.inner && bare {
					t.Errorf("the message was changed: %s", m.Body)
				}
			}
		})
	}
}

func TestOsloUndecodable(t *testing.T) {
	const rpc, reply, notify = messaging.KindRPC, messaging.KindReply, messaging.KindNotify
	envelope := func(version, message string) *messaging.Message {
		return osloMessage(`{"oslo.version": ` + version + `, "oslo.message": ` + message + `}`)
	}
	const inner = `"{\"method\": \"secret\"}"`
	tests := []struct {
		name string
		kind messaging.Kind
		m    *messaging.Message
		want string
	}{
		{"empty", rpc, osloMessage(""), "not a JSON object"},
		{"text", rpc, osloMessage("secret"), "not a JSON object"},
		{"array", rpc, osloMessage(`["secret"]`), "not a JSON object"},
		{"open object", rpc, osloMessage(`{"method": "secret"`), "no comma or brace"},
		{"text behind", rpc, osloMessage(`{"method": "secret"} x`), "text behind"},
		{"no comma", rpc, osloMessage(`{"method": "secret" "args": {}}`), "no comma"},
		{"comma at the end", rpc, osloMessage(`{"method": "secret",}`), "no name"},
		{"no colon", rpc, osloMessage(`{"method" "secret"}`), "no colon"},
		{"name without quotes", rpc, osloMessage(`{method: "secret"}`), "no name"},
		{"no value", rpc, osloMessage(`{"method":}`), "no JSON value"},
		{"value cut off", rpc, osloMessage(`{"method":`), "no value"},
		{"brackets of two kinds", rpc, osloMessage(`{"method": "secret", "args": [}]}`), "no JSON value"},
		{"array closed by a brace", rpc, osloMessage(`{"method": "secret", "args": [1}}`), "no comma"},
		{"word", rpc, osloMessage(`{"method": "secret", "args": trueish}`), "no comma"},
		{"half a word", rpc, osloMessage(`{"method": "secret", "args": tru}`), "no JSON value"},
		{"minus alone", rpc, osloMessage(`{"method": "secret", "args": -}`), "no JSON value"},
		{"leading zero", rpc, osloMessage(`{"method": "secret", "args": 01}`), "no comma"},
		{"point at the end", rpc, osloMessage(`{"method": "secret", "args": 1.}`), "decimal point"},
		{"empty exponent", rpc, osloMessage(`{"method": "secret", "args": 1e+}`), "exponent"},
		{"malformed escape", rpc, osloMessage(`{"method": "secret\x"}`), "malformed escape"},
		{"malformed unicode escape", rpc, osloMessage(`{"method": "secret\u12g4"}`), "malformed escape"},
		{"escape cut off", rpc, osloMessage(`{"method": "secret\`), "malformed escape"},
		{"string without end", rpc, osloMessage(`{"method": "secret`), "without an end"},
		{"control character", rpc, osloMessage("{\"method\": \"secret\n\"}"), "control character"},
		{"not UTF-8", rpc, osloMessage("{\"method\": \"secret\xff\"}"), "not UTF-8"},
		{"too deep", rpc, osloMessage(`{"method": "secret", "args": ` + nested(513) + `}`), "too deeply"},
		{"much too deep and never closed", rpc, osloMessage(`{"args": ` + strings.Repeat(`{"secret":[`, 1<<20)), "too deeply"},
		{"envelope 1.0", rpc, envelope(`"1.0"`, inner), "version of the envelope"},
		{"envelope 2.1", rpc, envelope(`"2.1"`, inner), "version of the envelope"},
		{"envelope 2.0.1", rpc, envelope(`"2.0.1"`, inner), "version of the envelope"},
		{"envelope 3.0", rpc, envelope(`"3.0"`, inner), "version of the envelope"},
		{"envelope version as a number", rpc, envelope(`2.0`, inner), "version of the envelope"},
		{"envelope version null", rpc, envelope(`null`, inner), "version of the envelope"},
		{"message in the envelope not a string", rpc, envelope(`"2.0"`, `{"method": "secret"}`), "not a string"},
		{"message in the envelope not an object", rpc, envelope(`"2.0"`, `"[]"`), "not a JSON object"},
		{"inner object malformed", rpc, envelope(`"2.0"`, `"{\"method\": secret}"`), "no JSON value"},
		{"no method", rpc, enveloped(`{"args": {"secret": 1}}`), "without a method"},
		{"too much context", rpc, enveloped(`{"method": "m"` + manyContexts(1001) + `}`), "context entries"},
		{"context key too long", rpc, enveloped(`{"method": "m", "_context_` + strings.Repeat("k", 1025) + `": 1}`), "context key"},
		{"inner name cut off", rpc, enveloped(`{"method": "m", "args": {"secret`), "without an end"},
		{"nested object with a comma at the end", rpc, enveloped(`{"method": "m", "args": {"secret": 1,}}`), "no name"},
		{"notification with too much context", notify, enveloped(`{"a": 1` + manyContexts(1001) + `}`), "context entries"},
		{"reply without its call", reply, enveloped(`{"result": "secret", "ending": true}`), "without the id"},
		{"reply malformed", reply, enveloped(`{"result": secret}`), "no JSON value"},
		{"notification malformed", notify, enveloped(`{"payload": secret}`), "no JSON value"},
		{"unknown kind", 9, enveloped(`{}`), "unknown kind"},
		{"unknown compression", rpc, compressed(osloMessage(""), "application/zstd", nil), "compression"},
		{"compressed body malformed", rpc, compressed(osloMessage(""), "application/x-gzip", []byte("secret")), "zlib"},
		{"compressed body cut off", rpc, compressed(osloMessage(""), "application/x-gzip", zlibbed(t, []byte("{}"))[:9]), "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := messaging.Envelope{Kind: tt.kind}
			err := wire.Oslo(0).Decode(tt.m, &e)
			if !errors.Is(err, messaging.ErrUndecodable) {
				t.Fatalf("Decode = %v, want ErrUndecodable", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q quotes the payload", err)
			}
		})
	}
}

func manyContexts(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`, "_context_` + strconv.Itoa(i) + `": 1`)
	}
	return b.String()
}

func TestOsloAccepts(t *testing.T) {
	tests := []struct {
		contentType string
		want        bool
	}{
		{"application/json", true},
		{"Application/JSON; charset=utf-8", true},
		{"", false},
		{"text/plain", false},
		{"application/octet-stream", false},
		{"application/json-patch+json", false},
		{"application/vnd.patchbay.v1+json", false},
	}
	for _, tt := range tests {
		t.Run(tt.contentType, func(t *testing.T) {
			if got := wire.Oslo(0).Accepts(&messaging.Message{ContentType: tt.contentType}); got != tt.want {
				t.Errorf("Accepts = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestOsloCompressed(t *testing.T) {
	const inner = `{"method": "m"}`
	plain := enveloped(inner).Body
	bz2, err := base64.StdEncoding.DecodeString( // of enveloped's result, by Python: our library only reads it
		"QlpoOTFBWSZTWfuHzy8AAB0bgFAFUBAABCbnnQogAEDRT0nkT1NB6TNQoNGjQZAaKhjdPHsSaPabPgcoB01cZb2aCJUuHOuhnVBDSwQVhS/F3JFOFCQ+4fPLwA==")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, kind string
		body       []byte
	}{
		{"zlib called gzip, as kombu does", "application/x-gzip", zlibbed(t, plain)},
		{"gzip", "application/x-gzip", gzipped(t, plain)},
		{"bzip2", "application/x-bz2", bz2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var e messaging.Envelope
			if err := wire.Oslo(int64(len(plain))).Decode(compressed(osloMessage(""), tt.kind, tt.body), &e); err != nil || e.Method != "m" {
				t.Errorf("method %q, %v", e.Method, err)
			}
			err := wire.Oslo(int64(len(plain))-1).Decode(compressed(osloMessage(""), tt.kind, tt.body), &e)
			if !errors.Is(err, messaging.ErrUndecodable) || !errors.Is(err, messaging.ErrTooLarge) {
				t.Errorf("above the limit: %v, want ErrUndecodable and ErrTooLarge", err)
			}
		})
	}
}
