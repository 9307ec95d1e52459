package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

func TestOsloEncode(t *testing.T) {
	monitored := func(d time.Duration) messaging.Envelope {
		return messaging.Envelope{Method: "m", CallID: "c", ReplyTo: "r", Monitor: d, ID: "u"}
	}
	tests := []struct {
		name string
		e    messaging.Envelope
		want string // the inner object
	}{
		{"least", messaging.Envelope{Method: "m", ID: "u"}, `{"method": "m", "args": {}, "_unique_id": "u"}`},
		{"monitor in whole seconds is an integer", monitored(4 * time.Second), `{"method": "m", "args": {}, "_msg_id": "c", "_reply_q": "r", "_timeout": 4, "_unique_id": "u"}`},
		{"monitor with a fraction", monitored(1500 * time.Millisecond), `{"method": "m", "args": {}, "_msg_id": "c", "_reply_q": "r", "_timeout": 1.5, "_unique_id": "u"}`},
		{"monitor of a nanosecond", monitored(1), `{"method": "m", "args": {}, "_msg_id": "c", "_reply_q": "r", "_timeout": 0.000000001, "_unique_id": "u"}`},
		{"monitor on a cast is left out", messaging.Envelope{Method: "m", Monitor: time.Second, ID: "u"}, `{"method": "m", "args": {}, "_unique_id": "u"}`},
		{
			"strings are escaped as Python does it",
			messaging.Envelope{Method: "\"\\/\b\f\n\r\t\x01\x7fé世😀\xff", Body: []byte("{}"), ID: "u"},
			`{"method": "\"\\/\b\f\n\r\t\u0001\u007f\u00e9\u4e16\ud83d\ude00\ufffd", "args": {}, "_unique_id": "u"}`,
		},
		{
			"JSON text becomes ASCII on one line, and keeps its digits",
			messaging.Envelope{Method: "m", Body: []byte("{\n\t\"é\\n😀\": 9007199254740993, \"x\": NaN}"), ID: "u"},
			`{"method": "m", "args": {  "\u00e9\n\ud83d\ude00": 9007199254740993, "x": NaN}, "_unique_id": "u"}`,
		},
		{
			"context after the id, in order",
			messaging.Envelope{Method: "m", ID: "u", Context: []messaging.ContextValue{{Key: "z\"", Value: []byte(`{"é":1}`)}, {Key: "a"}}},
			`{"method": "m", "args": {}, "_unique_id": "u", "_context_z\"": {"\u00e9":1}, "_context_a": null}`,
		},
		{"null result", messaging.Envelope{Kind: messaging.KindReply, CallID: "c", ID: "u", Final: true}, `{"result": null, "failure": null, "ending": true, "_msg_id": "c", "_unique_id": "u"}`},
		{
			"failure is JSON inside JSON",
			messaging.Envelope{Kind: messaging.KindReply, CallID: "c", ID: "u", Final: true, Failed: true, Body: []byte(`{"message":"é\n"}`)},
			`{"result": null, "failure": "{\"message\":\"\u00e9\\n\"}", "ending": true, "_msg_id": "c", "_unique_id": "u"}`,
		},
		{
			"failure that says nothing is a failure still",
			messaging.Envelope{Kind: messaging.KindReply, CallID: "c", ID: "u", Final: true, Failed: true},
			`{"result": null, "failure": "{}", "ending": true, "_msg_id": "c", "_unique_id": "u"}`,
		},
		{"empty notification", messaging.Envelope{Kind: messaging.KindNotify, ID: "u", Body: []byte(" { } ")}, `{"_unique_id": "u"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := messaging.Message{Body: []byte("old")}
			if err := wire.Oslo(0).Encode(&tt.e, &m); err != nil {
				t.Fatal(err)
			}
			var outer struct {
				Version string `json:"oslo.version"`
				Message string `json:"oslo.message"`
			}
			if err := json.Unmarshal(m.Body, &outer); err != nil {
				t.Fatalf("%v in %s", err, m.Body)
			}
			if outer.Version != "2.0" || outer.Message != tt.want {
				t.Errorf("version %q, inner object\n%s, want\n%s", outer.Version, outer.Message, tt.want)
			}
		})
	}
}
