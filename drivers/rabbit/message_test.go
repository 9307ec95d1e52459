package rabbit

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

func TestExpiration(t *testing.T) {
	for _, tt := range []struct {
		ttl  time.Duration
		want string
	}{
		{0, ""},
		{-time.Second, ""},
		{1, "1"},
		{time.Millisecond, "1"},
		{time.Millisecond + 1, "2"},
		{7250 * time.Millisecond, "7250"},
		{time.Minute, "60000"},
		{maxExpiration, "4294967295"},
		{maxExpiration + 1, "4294967295"},
		{math.MaxInt64, "4294967295"},
	} {
		if got := publishing(&messaging.Message{TTL: tt.ttl}).Expiration; got != tt.want {
			t.Errorf("TTL %v: expiration %q, want %q", tt.ttl, got, tt.want)
		}
	}
}

// TestReceived has what foreign peers may put into a message.
func TestReceived(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	d := amqp.Delivery{
		Expiration:   "not a number",
		DeliveryMode: amqp.Transient,
		Headers: amqp.Table{
			"string": "s", "bytes": []byte("b"), "true": true, "time": noon, "float32": float32(0.5), "float64": 1e300,
			"int8": int8(-8), "uint8": uint8(8), "int16": int16(-16), "uint16": uint16(16), "int32": int32(-32), "uint32": uint32(32), "int64": int64(math.MinInt64),
			"decimal": amqp.Decimal{Scale: 2, Value: -5}, "whole": amqp.Decimal{Value: 7}, "scaled": amqp.Decimal{Scale: 1, Value: 1234},
			"nil": nil, "table": amqp.Table{"a": "b"}, "array": []any{"a"},
		},
	}
	m, count := received(&d, false)
	want := messaging.Message{Headers: []messaging.Header{
		{Key: "bytes", Value: "b"},
		{Key: "decimal", Value: "-0.05"},
		{Key: "float32", Value: "0.5"},
		{Key: "float64", Value: "1e+300"},
		{Key: "int16", Value: "-16"},
		{Key: "int32", Value: "-32"},
		{Key: "int64", Value: "-9223372036854775808"},
		{Key: "int8", Value: "-8"},
		{Key: "scaled", Value: "123.4"},
		{Key: "string", Value: "s"},
		{Key: "time", Value: "2026-01-02T12:00:00Z"},
		{Key: "true", Value: "true"},
		{Key: "uint16", Value: "16"},
		{Key: "uint32", Value: "32"},
		{Key: "uint8", Value: "8"},
		{Key: "whole", Value: "7"},
	}}
	if diff := cmp.Diff(want, m, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if count != -1 {
		t.Errorf("count %d, want -1", count)
	}
}

func TestDeliveryCount(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers amqp.Table
		counted bool
		want    int
	}{
		{"a classic queue", nil, false, -1},
		{"the first time", nil, true, 0},
		{"failed twice", amqp.Table{"x-delivery-count": int64(2)}, true, 2},
		{"given back three times, failed once", amqp.Table{"x-acquired-count": int64(3), "x-delivery-count": int64(1)}, true, 3},
		{"nonsense", amqp.Table{"x-delivery-count": "many"}, true, 0},
		{"nothing", amqp.Table{"x-delivery-count": nil}, true, 0},
	} {
		m, count := received(&amqp.Delivery{Headers: tt.headers}, tt.counted)
		if count != tt.want || len(m.Headers) > 0 {
			t.Errorf("%s: count %d, want %d; headers %v", tt.name, count, tt.want, m.Headers)
		}
	}
}

func TestRoutesThatCannotBe(t *testing.T) {
	for name, r := range map[string]route{
		"key":      {key: strings.Repeat("k", 256)},
		"exchange": {exchange: exchange{name: strings.Repeat("x", 256)}},
	} {
		if err := check(&messaging.Message{}, r, 1, frameSize); !errors.Is(err, messaging.ErrTooLarge) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
