package notify_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
)

// TestFilters: the cases are those of oslo.messaging's NotificationFilter.
func TestFilters(t *testing.T) {
	const body = `{"message_id": "m-1", "publisher_id": "compute.host1", "event_type": "compute.instance.create.end", "priority": "INFO",
		"payload": {"state": "active", "size": 7, "none": null, "state2": "a\u0063tive", "nested": {"state": "active"}},
		"timestamp": "2026-11-22 23:21:19"}`
	context := []messaging.ContextValue{
		{Key: "tenant_id", Value: []byte(`"5f64"`)}, {Key: "roles", Value: []byte(`["private"]`)}, {Key: "is_admin", Value: []byte("true")},
	}
	type texts = map[string]string
	for name, tt := range map[string]struct {
		filter notify.Filter
		want   bool
	}{
		"nothing":                       {notify.Filter{}, true},
		"publisher":                     {notify.Filter{PublisherID: `^compute.*`}, true},
		"anchored at the start":         {notify.Filter{PublisherID: `host1`}, false},
		"not at the end":                {notify.Filter{PublisherID: `comp`}, true},
		"alternatives are anchored too": {notify.Filter{PublisherID: `network|host1`}, false},
		"flags":                         {notify.Filter{PublisherID: `(?i)COMPUTE`}, true},
		"event":                         {notify.Filter{EventType: `compute\.instance\..*\.end$`}, true},
		"another event":                 {notify.Filter{EventType: `compute\.instance\.delete`}, false},
		"both":                          {notify.Filter{EventType: `compute`, PublisherID: `network`}, false},
		"context":                       {notify.Filter{Context: texts{"tenant_id": `^5f64$`}}, true},
		"context that differs":          {notify.Filter{Context: texts{"tenant_id": `6`}}, false},
		"context that is no text":       {notify.Filter{Context: texts{"roles": `private`}}, false},
		"context that is missing":       {notify.Filter{Context: texts{"user_id": ``}}, false},
		"context that is there":         {notify.Filter{Context: texts{"tenant_id": ``}}, true},
		"metadata":                      {notify.Filter{Metadata: texts{"timestamp": `2026-11`, "message_id": `m-\d`}}, true},
		"other metadata":                {notify.Filter{Metadata: texts{"timestamp": `Aug`}}, false},
		"payload":                       {notify.Filter{Payload: texts{"state": `^active$`}}, true},
		"payload with an escape":        {notify.Filter{Payload: texts{"state2": `^active$`}}, true},
		"payload that is a number":      {notify.Filter{Payload: texts{"size": `7`}}, false},
		"payload that is null":          {notify.Filter{Payload: texts{"none": `.*`}}, false},
		"payload that is missing":       {notify.Filter{Payload: texts{"host": `.*`}}, false},
		"payload that is nested":        {notify.Filter{Payload: texts{"nested": `.*`}}, false},
		"one of two":                    {notify.Filter{Payload: texts{"state": `active`, "state2": `down`}}, false},
		"all of it": {notify.Filter{
			PublisherID: "c", EventType: "c", Context: texts{"tenant_id": "5"}, Metadata: texts{"message_id": "m"}, Payload: texts{"state": "a"},
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bus) {
				r := newRecord(nil, notify.Info)
				r.Filter = tt.filter
				b.listen(nil, &r.Endpoint)
				e := &messaging.Envelope{Kind: messaging.KindNotify, Body: []byte(body), Context: context}
				if err := b.open().Send(t.Context(), messaging.Address{Kind: messaging.KindNotify, Topic: "notifications.info"}, e, nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := len(r.events()) == 1; got != tt.want {
					t.Errorf("let through: %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestFiltersThatCannotBe(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		for says, f := range map[string]notify.Filter{
			"filter of publisher id":    {PublisherID: `(`},
			"filter of event type":      {EventType: `(?<=a)b`}, // Python's, which package regexp does not have
			"publisher id: error":       {PublisherID: `a)|(?:b`},
			`filter of context "u"`:     {Context: map[string]string{"u": `a)|(?:b`}},
			`filter of context "k"`:     {Context: map[string]string{"k": `[`}},
			`filter of payload "state"`: {Payload: map[string]string{"state": `*`}},
			`no metadata "time"`:        {Metadata: map[string]string{"time": `x`}},
		} {
			ep := &newRecord(nil, notify.Info).Endpoint
			ep.Filter = f
			_, err := notify.NewListener(b.open(), []messaging.Target{target}, []*notify.Endpoint{ep}, nil)
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("error %v, want one that says %q", err, says)
			}
		}
	})
}

// FuzzBodies: whatever object a stranger sends, listeners live on.
func FuzzBodies(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"priority": "INFO", "payload": {"state": "active"}}`, `{"priority": 7, "payload": [1, {"state": NaN}], "timestamp": null}`,
		`{"payload": "{", "event_type": "\ud800", "priority": "info", "payload": {"state": {"a": "]}"}}}`, `{"payload": {"state": -Infinity}`,
		`{"publisher_id": "\u0000", "": "", "message_id": [[[]]]}`, `[`, `"`, `{"a`, `{"a":`, `{"a":{`, `{"a":1,`, "{\"a\\",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		synctest.Test(t, func(t *testing.T) { notify.ReadBody(t, body) })
	})
}
