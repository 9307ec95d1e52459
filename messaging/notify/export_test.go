package notify

import (
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// ReadBody reads a body as a listener does, and looks at it from all sides.
func ReadBody(t *testing.T, body []byte) {
	t.Helper()
	f := Filter{PublisherID: "p", EventType: "e", Metadata: map[string]string{"timestamp": "2"}, Payload: map[string]string{"state": "a"}}
	m, err := f.compile()
	if err != nil {
		t.Fatal(err)
	}
	in := &messaging.Incoming{Envelope: messaging.Envelope{Body: body}}
	r := read(in, &source{priority: Info})
	m.matches(r)
	_, _ = r.Time()
	var v any
	_ = r.Decode(&v)
	_ = masked(r.Payload)
	_ = r.body()
}
