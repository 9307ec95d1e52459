package amqp1

import (
	"sync"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
)

const valueType = "value"

func TestReceived(t *testing.T) {
	for _, tt := range []struct {
		name string
		give amqp.Message
		want messaging.Message
	}{
		{"nothing", amqp.Message{}, messaging.Message{ContentType: valueType}},
		{"a string", amqp.Message{Value: "text"}, messaging.Message{ContentType: valueType, Body: []byte("text")}},
		{"a list", amqp.Message{Value: []any{"text"}}, messaging.Message{}},
		{"data in pieces", amqp.Message{Data: [][]byte{[]byte("a"), []byte("b")}}, messaging.Message{Body: []byte("ab")}},
		{
			"properties",
			amqp.Message{
				Header: &amqp.MessageHeader{Durable: true, Priority: 200, TTL: time.Second},
				Properties: &amqp.MessageProperties{
					MessageID: uint64(7), CorrelationID: amqp.UUID{1}, ReplyTo: str("r"), ContentType: str("c"), ContentEncoding: str("gzip"),
				},
				ApplicationProperties: map[string]any{
					"b": true, "a": "text", "i": int32(-1), "f": 1.5, "t": time.Unix(0, 0), "bin": []byte("x"), "list": []any{1}, "null": nil,
				},
				Data: [][]byte{[]byte("x")},
			},
			messaging.Message{
				ID: "7", CorrelationID: "01000000-0000-0000-0000-000000000000", ReplyTo: "r", ContentType: "c", ContentEncoding: "gzip",
				Durable: true, Priority: 9, TTL: time.Second, Body: []byte("x"),
				Headers: []messaging.Header{{Key: "a", Value: "text"}, {Key: "b", Value: "true"}, {Key: "bin", Value: "x"}, {Key: "f", Value: "1.5"}, {Key: "i", Value: "-1"}, {Key: "t", Value: "1970-01-01T00:00:00Z"}},
			},
		},
		{"a binary id", amqp.Message{Properties: &amqp.MessageProperties{MessageID: []byte{1, 0xff}}}, messaging.Message{ID: "01ff", ContentType: valueType}},
	} {
		got := received(&tt.give, valueType)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestJobs: what is sent, and when an outcome is asked for.
func TestJobs(t *testing.T) {
	reply := messaging.Address{Kind: messaging.KindReply, Direct: "r"}
	request := messaging.Address{Topic: "t"}
	for _, tt := range []struct {
		name                string
		p                   *profile
		to                  messaging.Address
		m                   messaging.Message
		settled, mustArrive bool
	}{
		{"cast", artemis(), request, messaging.Message{}, false, false},
		{"call", artemis(), request, messaging.Message{ReplyTo: "r"}, true, false},
		{"mandatory call on RabbitMQ", rabbitMQ(), request, messaging.Message{ReplyTo: "r", Mandatory: true}, false, true},
		{"mandatory call on Broker-J", brokerJ(), request, messaging.Message{ReplyTo: "r", Mandatory: true}, true, true},
		{"reply", brokerJ(), reply, messaging.Message{}, true, true},
		{"mandatory reply on RabbitMQ", rabbitMQ(), reply, messaging.Message{Mandatory: true}, false, true},
		{"notification", artemis(), messaging.Address{Kind: messaging.KindNotify, Topic: "n"}, messaging.Message{}, false, false},
	} {
		c := &conn{o: &options{valueType: valueType}, p: tt.p, jobs: &sync.Pool{}}
		target := tt.p.target(node{name: "n"})
		j := newJob(c, tt.to, target, &tt.m, nil)
		if j.settled != tt.settled || j.mustArrive != tt.mustArrive {
			t.Errorf("%s: settled %v, must arrive %v", tt.name, j.settled, j.mustArrive)
		}
		if j.message.Header.Durable || (j.properties.To != nil) != target.anonymous {
			t.Errorf("%s: %+v, %+v", tt.name, j.message.Header, j.properties)
		}
	}
	c := &conn{o: &options{valueType: valueType, settledCasts: true}, p: artemis(), jobs: &sync.Pool{}}
	for durable, want := range map[bool]bool{false: true, true: false} {
		if j := newJob(c, request, terminus{}, &messaging.Message{Durable: durable}, nil); j.settled != want {
			t.Errorf("pre_settled=rpc-cast, durable %v: settled %v", durable, j.settled)
		}
	}
	// The longest life, and the shortest, are not none.
	for _, ttl := range []time.Duration{1, 1 << 62} {
		if got := newJob(c, request, terminus{}, &messaging.Message{TTL: ttl}, nil).header.TTL; got < time.Millisecond || got > maxTTL {
			t.Errorf("a time to live of %v is sent as %v", ttl, got)
		}
	}
}
