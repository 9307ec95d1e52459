package wire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// sample returns a call as services send them, with arguments of about that
// many bytes.
func sample(size int, withContext bool) *messaging.Envelope {
	e := &messaging.Envelope{
		ID: "2bafd13178a8490aaf0d8279c4645edd", CallID: "4af6c65e969347ba81309292f094d8fc", ReplyTo: "reply_b243b70235374af79573614c221114bd",
		Method: "delete_volume", Namespace: "admin", Version: "1.15", Timeout: 59900 * time.Millisecond,
		Body: []byte(`{"volume_id": "` + strings.Repeat("x", max(size-18, 0)) + `"}`),
	}
	if withContext {
		for _, key := range []string{"user_id", "project_id", "request_id", "roles", "is_admin", "tenant"} {
			e.Context = append(e.Context, messaging.ContextValue{Key: key, Value: []byte(`["value", null]`)})
		}
	}
	return e
}

func TestAllocations(t *testing.T) {
	notification := &messaging.Envelope{Kind: messaging.KindNotify, ID: "u", Context: sample(0, true).Context, Body: []byte(`{"event_type": "e", "payload": {"é": 1}}`)}
	result := &messaging.Envelope{Kind: messaging.KindReply, ID: "u", CallID: "c", Final: true, Body: []byte(`{"é": [1, 2]}`)}
	failure := &messaging.Envelope{Kind: messaging.KindReply, ID: "u", CallID: "c", Final: true, Failed: true, Body: []byte(`{"class": "É", "message": "x"}`)}
	untimed := sample(100, false)
	untimed.Timeout = 0
	tests := []struct {
		name           string
		codec          messaging.Codec
		e              *messaging.Envelope
		encode, decode float64 // allocations at most
	}{
		{"oslo call", wire.Oslo(0), sample(100, false), 0, 6},
		{"oslo call with context", wire.Oslo(0), sample(100, true), 0, 6},
		{"oslo large call", wire.Oslo(0), sample(100_000, true), 0, 6},
		{"oslo result", wire.Oslo(0), result, 0, 3},
		{"oslo failure", wire.Oslo(0), failure, 0, 4},
		{"oslo notification", wire.Oslo(0), notification, 0, 5},
		{"native call without a deadline", wire.Native(0), untimed, 0, 0},
		{"native call", wire.Native(0), sample(100, false), 1, 0},
		{"native call with context", wire.Native(0), sample(100, true), 2, 3},
		{"native result", wire.Native(0), result, 0, 0},
		{"native failure", wire.Native(0), failure, 0, 0},
		{"native notification", wire.Native(0), notification, 1, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m messaging.Message
			encode := testing.AllocsPerRun(100, func() {
				m.Reset()
				if err := tt.codec.Encode(tt.e, &m); err != nil {
					t.Fatal(err)
				}
			})
			if encode > tt.encode {
				t.Errorf("encoding allocates %v times, want %v at most", encode, tt.encode)
			}
			e := messaging.Envelope{Kind: tt.e.Kind}
			decode := testing.AllocsPerRun(100, func() {
				if err := tt.codec.Decode(&m, &e); err != nil {
					t.Fatal(err)
				}
			})
			if decode > tt.decode {
				t.Errorf("decoding allocates %v times, want %v at most", decode, tt.decode)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, size := range map[string]int{"100B": 100, "4KiB": 4096} {
		e := sample(size, false)
		b.Run("codec=maps/"+name, func(b *testing.B) {
			var args map[string]any
			if err := json.Unmarshal(e.Body, &args); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := encodeWithMaps(e, args); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, codec := range []messaging.Codec{wire.Oslo(0), wire.Native(0)} {
			b.Run("codec="+codec.Name()+"/"+name, func(b *testing.B) {
				var m messaging.Message
				b.ReportAllocs()
				for b.Loop() {
					m.Reset()
					if err := codec.Encode(e, &m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, size := range map[string]int{"100B": 100, "4KiB": 4096} {
		e := sample(size, false)
		body, err := encodeWithMaps(e, map[string]any{"volume_id": strings.Repeat("x", size-18)})
		if err != nil {
			b.Fatal(err)
		}
		b.Run("codec=maps/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeWithMaps(body); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, codec := range []messaging.Codec{wire.Oslo(0), wire.Native(0)} {
			b.Run("codec="+codec.Name()+"/"+name, func(b *testing.B) {
				var m messaging.Message
				if err := codec.Encode(e, &m); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					var got messaging.Envelope
					if err := codec.Decode(&m, &got); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// encodeWithMaps and decodeWithMaps do the oslo format the obvious way: what
// the codecs are measured against.
func encodeWithMaps(e *messaging.Envelope, args map[string]any) ([]byte, error) {
	inner, err := json.Marshal(map[string]any{
		"method": e.Method, "args": args, "namespace": e.Namespace, "version": e.Version,
		"_msg_id": e.CallID, "_reply_q": e.ReplyTo, "_timeout": nil, "_unique_id": e.ID,
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"oslo.version": "2.0", "oslo.message": string(inner)})
}

func decodeWithMaps(body []byte) (map[string]any, error) {
	var outer, inner map[string]any
	if err := json.Unmarshal(body, &outer); err != nil {
		return nil, err
	}
	message, _ := outer["oslo.message"].(string)
	err := json.Unmarshal([]byte(message), &inner)
	return inner, err
}
