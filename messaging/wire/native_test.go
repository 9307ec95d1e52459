package wire_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

func TestNativeEncode(t *testing.T) {
	type headers = []messaging.Header
	tests := []struct {
		name string
		e    messaging.Envelope
		want messaging.Message
	}{
		{
			"least request",
			messaging.Envelope{Method: "m"},
			messaging.Message{Headers: headers{{Key: "pb-method", Value: "m"}}, Body: []byte("{}")},
		},
		{
			"call with everything",
			messaging.Envelope{
				ID: "u", CallID: "c", ReplyTo: "r", Method: "m\n", Namespace: "n", Version: "1.2", Timeout: 1500*time.Millisecond + 1, Monitor: 2 * time.Second,
				Context: []messaging.ContextValue{{Key: "k\"é", Value: []byte(`{"x":"é"}`)}, {Key: "", Value: nil}}, Body: []byte(`{"a":1}`),
			},
			messaging.Message{ID: "u", CorrelationID: "c", ReplyTo: "r", Headers: headers{
				{Key: "pb-method", Value: "m\n"},
				{Key: "pb-namespace", Value: "n"},
				{Key: "pb-version", Value: "1.2"},
				{Key: "pb-timeout-ms", Value: "1501"},
				{Key: "pb-monitor-ms", Value: "2000"},
				{Key: "pb-context", Value: `{"k\"\u00e9": {"x":"\u00e9"}, "": null}`},
			}, Body: []byte(`{"a":1}`)},
		},
		{
			"method that is not UTF-8",
			messaging.Envelope{Method: "m\xff"},
			messaging.Message{Headers: headers{{Key: "pb-method", Value: "m\ufffd"}}, Body: []byte("{}")},
		},
		{
			"result",
			messaging.Envelope{Kind: messaging.KindReply, ID: "u", CallID: "c", Final: true, Body: []byte("5")},
			messaging.Message{ID: "u", CorrelationID: "c", Body: []byte("5")},
		},
		{
			"null result",
			messaging.Envelope{Kind: messaging.KindReply, CallID: "c", Final: true},
			messaging.Message{CorrelationID: "c", Body: []byte("null")},
		},
		{
			"failure",
			messaging.Envelope{Kind: messaging.KindReply, CallID: "c", Final: true, Failed: true, Body: []byte(`{"class":"E"}`)},
			messaging.Message{CorrelationID: "c", Headers: headers{{Key: "pb-failed", Value: "true"}}, Body: []byte(`{"class":"E"}`)},
		},
		{
			"heartbeat",
			messaging.Envelope{Kind: messaging.KindReply, CallID: "c"},
			messaging.Message{CorrelationID: "c", Headers: headers{{Key: "pb-heartbeat", Value: "true"}}, Body: []byte("null")},
		},
		{
			"notification",
			messaging.Envelope{Kind: messaging.KindNotify, ID: "u", Context: []messaging.ContextValue{{Key: "k", Value: []byte("1")}}, Body: []byte(`{"event_type":"e"}`)},
			messaging.Message{ID: "u", Headers: headers{{Key: "pb-context", Value: `{"k": 1}`}}, Body: []byte(`{"event_type":"e"}`)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := messaging.Message{ID: "old", CorrelationID: "old", ReplyTo: "old", Headers: make(headers, 2), Body: []byte("old")}
			if err := wire.Native(0).Encode(&tt.e, &got); err != nil {
				t.Fatal(err)
			}
			tt.want.ContentType, tt.want.ContentEncoding = "application/vnd.patchbay.v1+json", "utf-8"
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNativeDecode(t *testing.T) {
	type headers = []messaging.Header
	const rpc, reply, notify = messaging.KindRPC, messaging.KindReply, messaging.KindNotify
	tests := []struct {
		name string
		m    messaging.Message
		want messaging.Envelope
	}{
		{"least request", messaging.Message{Headers: headers{{Key: "pb-method", Value: "m"}}}, messaging.Envelope{Method: "m", Version: "1.0", Body: []byte("{}")}},
		{
			"unknown headers, blanks, the first of the same headers",
			messaging.Message{
				Headers: headers{{Key: "pb-later", Value: "x"}, {Key: "pb-method", Value: "m"}, {Key: "pb-method", Value: "x"}, {Key: "pb-context", Value: `{"a": 1}`}, {Key: "pb-context", Value: `{"b": 1}`}},
				Body:    []byte(" \n{\"n\": NaN} "),
			},
			messaging.Envelope{Method: "m", Version: "1.0", Context: []messaging.ContextValue{{Key: "a", Value: []byte("1")}}, Body: []byte(`{"n": NaN}`)},
		},
		{
			"call that says nothing is answered",
			messaging.Message{CorrelationID: "c", ReplyTo: "r"},
			messaging.Envelope{CallID: "c", ReplyTo: "r", Version: "1.0", Body: []byte("{}")},
		},
		{
			"no reply address: a cast",
			messaging.Message{CorrelationID: "c", Headers: headers{{Key: "pb-method", Value: "m"}}},
			messaging.Envelope{Method: "m", Version: "1.0", Body: []byte("{}")},
		},
		{"empty reply is null", messaging.Message{CorrelationID: "c"}, messaging.Envelope{Kind: reply, CallID: "c", Final: true, Body: []byte("null")}},
		{
			"heartbeat",
			messaging.Message{CorrelationID: "c", Headers: headers{{Key: "pb-heartbeat", Value: "true"}}, Body: []byte("null")},
			messaging.Envelope{Kind: reply, CallID: "c"},
		},
		{
			"headers of a request on a reply",
			messaging.Message{CorrelationID: "c", Headers: headers{{Key: "pb-method", Value: "m"}, {Key: "pb-timeout-ms", Value: "x"}, {Key: "pb-context", Value: "x"}}},
			messaging.Envelope{Kind: reply, CallID: "c", Final: true, Body: []byte("null")},
		},
		{"notification", messaging.Message{ID: "u", Body: []byte(`{"payload": 1}`)}, messaging.Envelope{Kind: notify, ID: "u", Body: []byte(`{"payload": 1}`)}},
		{
			"compressed",
			*compressed(&messaging.Message{Headers: headers{{Key: "pb-method", Value: "m"}}}, "application/x-gzip", zlibbed(t, []byte(`{"a": 1}`))),
			messaging.Envelope{Kind: rpc, Method: "m", Version: "1.0", Body: []byte(`{"a": 1}`)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := messaging.Envelope{Kind: tt.want.Kind, ID: "old", Bare: true, Failed: true, Context: make([]messaging.ContextValue, 1)}
			if err := wire.Native(0).Decode(&tt.m, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNativeUndecodable(t *testing.T) {
	header := func(key, value string) *messaging.Message {
		return &messaging.Message{Headers: []messaging.Header{{Key: "pb-method", Value: "m"}, {Key: key, Value: value}}}
	}
	body := func(s string) *messaging.Message {
		m := header("", "")
		m.Body = []byte(s)
		return m
	}
	tests := []struct {
		name string
		kind messaging.Kind
		m    *messaging.Message
		want string
	}{
		{"body malformed", messaging.KindRPC, body("secret"), "no JSON value"},
		{"two values", messaging.KindRPC, body(`{} "secret"`), "text behind"},
		{"body of blanks", messaging.KindRPC, body("  "), "no value"},
		{"body not UTF-8", messaging.KindRPC, body("\"secret\xff\""), "not UTF-8"},
		{"body too deep", messaging.KindRPC, body(nested(513)), "too deeply"},
		{"no method", messaging.KindRPC, &messaging.Message{Body: []byte("{}")}, "without a method"},
		{"timeout", messaging.KindRPC, header("pb-timeout-ms", "secret"), "pb-timeout-ms"},
		{"timeout below zero", messaging.KindRPC, header("pb-timeout-ms", "-1"), "pb-timeout-ms"},
		{"monitor out of range", messaging.KindRPC, header("pb-monitor-ms", "9223372036855"), "pb-monitor-ms"},
		{"context not an object", messaging.KindRPC, header("pb-context", `["secret"]`), "not a JSON object"},
		{"context malformed", messaging.KindRPC, header("pb-context", `{"secret": x}`), "no JSON value"},
		{"context not UTF-8", messaging.KindRPC, header("pb-context", "{\"secret\xff\": 1}"), "not UTF-8"},
		{"too much context", messaging.KindRPC, header("pb-context", `{"": 1`+strings.ReplaceAll(manyContexts(1001), "_context_", "x")+`}`), "context entries"},
		{"compressed body malformed", messaging.KindRPC, compressed(header("", ""), "application/x-gzip", []byte("secret")), "zlib"},
		{"reply without its call", messaging.KindReply, body("5"), "without the id"},
		{"notification not an object", messaging.KindNotify, body("5"), "not a JSON object"},
		{"notification empty", messaging.KindNotify, body(""), "not a JSON object"},
		{"unknown kind", 9, body("{}"), "unknown kind"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := messaging.Envelope{Kind: tt.kind}
			err := wire.Native(0).Decode(tt.m, &e)
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

func TestCodecs(t *testing.T) {
	oslo, native := wire.Oslo(0), wire.Native(0)
	if oslo.Name() != "oslo" || native.Name() != "native" {
		t.Errorf("names %q and %q", oslo.Name(), native.Name())
	}
	for _, c := range []messaging.Codec{oslo, native} {
		var m messaging.Message
		if err := c.Encode(&messaging.Envelope{Kind: 9}, &m); err == nil {
			t.Errorf("%s encodes an unknown kind", c.Name())
		}
		if err := c.Encode(&messaging.Envelope{Kind: messaging.KindNotify, Body: []byte("5")}, &m); err == nil {
			t.Errorf("%s encodes a notification that is not an object", c.Name())
		}
		if err := c.Encode(&messaging.Envelope{Method: "m"}, &m); err != nil {
			t.Fatal(err)
		}
		if got := []bool{oslo.Accepts(&m), native.Accepts(&m)}; got[0] == got[1] || got[0] != (c == oslo) {
			t.Errorf("what %s encodes is accepted by oslo %v, native %v", c.Name(), got[0], got[1])
		}
	}
}
