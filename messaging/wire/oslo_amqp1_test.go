package wire_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// amqp1Vector is a message that oslo.messaging 14.0.3 sent over Broker-J (legacy
// addresses) or Artemis (routable ones).
type amqp1Vector struct {
	Name          string  `json:"name"`
	Kind          string  `json:"kind"`
	MessageID     string  `json:"message_id"`
	To            string  `json:"to"`
	ReplyTo       string  `json:"reply_to"`
	CorrelationID string  `json:"correlation_id"`
	Body          *string `json:"body"` // nil: a heartbeat
}

func (v *amqp1Vector) message() *messaging.Message {
	m := &messaging.Message{ContentType: wire.OsloAMQP1Type, ID: v.MessageID, ReplyTo: v.ReplyTo, CorrelationID: v.CorrelationID}
	if v.Body != nil {
		m.Body = []byte(*v.Body)
	}
	return m
}

func (v *amqp1Vector) kind() messaging.Kind {
	return map[string]messaging.Kind{"rpc": messaging.KindRPC, "reply": messaging.KindReply, "notify": messaging.KindNotify}[v.Kind]
}

func amqp1Vectors(tb testing.TB) []*amqp1Vector {
	tb.Helper()
	data, err := os.ReadFile("testdata/amqp1/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var all []*amqp1Vector
	if err := json.Unmarshal(data, &all); err != nil || len(all) < 20 {
		tb.Fatalf("%d vectors, %v", len(all), err)
	}
	return all
}

// TestOsloAMQP1Vectors decodes what Python sent and encodes it again, to the same
// bytes.
func TestOsloAMQP1Vectors(t *testing.T) {
	t.Parallel()
	codec := wire.OsloAMQP1(0)
	for _, v := range amqp1Vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			m := v.message()
			if !codec.Accepts(m) {
				t.Fatal("the codec does not accept it")
			}
			e := messaging.Envelope{Kind: v.kind()}
			if err := codec.Decode(m, &e); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(m.Body), `"version"`) {
				e.Version = "" // the decoder says what Python means by that
			}
			var again messaging.Message
			if err := codec.Encode(&e, &again); err != nil {
				t.Fatal(err)
			}
			if v.Kind == "reply" {
				if e.Final != (v.Body != nil) || e.Failed != strings.HasSuffix(v.Name, "failure") {
					t.Errorf("final %v, failed %v", e.Final, e.Failed)
				}
			}
			if diff := cmp.Diff(string(m.Body), string(again.Body)); diff != "" {
				t.Errorf("body (-Python +ours):\n%s", diff)
			}
			if again.ID != m.ID || again.ReplyTo != m.ReplyTo || again.CorrelationID != m.CorrelationID {
				t.Errorf("properties %q, %q, %q of %+v", again.ID, again.ReplyTo, again.CorrelationID, v)
			}
		})
	}
}

func TestOsloAMQP1Request(t *testing.T) {
	t.Parallel()
	codec := wire.OsloAMQP1(0)
	tests := []struct {
		name string
		give messaging.Message
		want messaging.Envelope
	}{
		{
			"a call",
			messaging.Message{
				ID: "id", ReplyTo: "r",
				Body: []byte(`{"context":{"user":"é"},"request":{"args":{"a":1},"method":"m","namespace":"n","version":"2.1"},"call_monitor_timeout":2}`),
			},
			messaging.Envelope{
				ID: "id", CallID: "id", ReplyTo: "r", Method: "m", Namespace: "n", Version: "2.1", Monitor: 2 * time.Second,
				Context: []messaging.ContextValue{{Key: "user", Value: []byte(`"é"`)}}, Body: []byte(`{"a":1}`),
			},
		},
		{
			"a cast that says little",
			messaging.Message{Body: []byte(`{"request":{"method":"m"}}`)},
			messaging.Envelope{Method: "m", Version: "1.0", Body: []byte("{}")},
		},
		{
			"no context, no version",
			messaging.Message{Body: []byte(`{"request":{"method":"m","version":null,"namespace":null},"context":null}`)},
			messaging.Envelope{Method: "m", Version: "None", Body: []byte("{}")},
		},
		{
			"a reply address without an id",
			messaging.Message{ReplyTo: "r", Body: []byte(`{"request":{"method":"m"}}`)},
			messaging.Envelope{Method: "m", Version: "1.0", Body: []byte("{}")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got messaging.Envelope
			if err := codec.Decode(&tt.give, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("envelope (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOsloAMQP1Undecodable(t *testing.T) {
	t.Parallel()
	codec := wire.OsloAMQP1(1 << 10)
	for name, m := range map[string]messaging.Message{
		"nothing":             {},
		"no JSON":             {Body: []byte("hello")},
		"no request":          {Body: []byte(`{"context":{}}`)},
		"a request of a text": {Body: []byte(`{"request":"m"}`)},
		"no method":           {Body: []byte(`{"request":{}}`)},
		"cut off":             {Body: []byte(`{"request":{"method":"m"`)},
		"not UTF-8":           {Body: []byte("{\"request\":{\"method\":\"\xff\"}}")},
		"too large":           {Body: []byte(`{"request":{"method":"` + strings.Repeat("m", 1<<10) + `"}}`)},
		"an absurd id":        {ID: strings.Repeat("i", 2000), Body: []byte(`{"request":{"method":"m"}}`)},
	} {
		if decodes(t, codec, &m, messaging.KindRPC) {
			t.Errorf("%s was decoded", name)
		}
	}
	if decodes(t, codec, &messaging.Message{Body: []byte(`{"response":1}`)}, messaging.KindReply) {
		t.Error("a reply to nothing was decoded")
	}
}

func FuzzDecodeOsloAMQP1(f *testing.F) {
	for _, v := range amqp1Vectors(f) {
		body := ""
		if v.Body != nil {
			body = *v.Body
		}
		f.Add([]byte(body), v.MessageID, v.ReplyTo, v.CorrelationID)
	}
	f.Fuzz(func(t *testing.T, body []byte, id, replyTo, correlationID string) {
		codec := wire.OsloAMQP1(1 << 20)
		for _, kind := range []messaging.Kind{messaging.KindRPC, messaging.KindReply, messaging.KindNotify} {
			m := &messaging.Message{ContentType: wire.OsloAMQP1Type, ID: id, ReplyTo: replyTo, CorrelationID: correlationID, Body: body}
			decodes(t, codec, m, kind)
		}
	})
}
