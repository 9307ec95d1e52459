package wire_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// vector is a message that a real oslo.messaging 18.3.1 sent over RabbitMQ.
type vector struct {
	Kind            string            `json:"kind"`
	ContentType     string            `json:"content_type"`
	ContentEncoding string            `json:"content_encoding"`
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	BodyBase64      []byte            `json:"body_base64"`
	Inner           json.RawMessage   `json:"inner"`   // as Python's json understood it
	Failure         json.RawMessage   `json:"failure"` // likewise
}

func (v *vector) message() *messaging.Message {
	m := &messaging.Message{ContentType: v.ContentType, ContentEncoding: v.ContentEncoding, Body: []byte(v.Body)}
	for key, value := range v.Headers {
		m.Headers = append(m.Headers, messaging.Header{Key: key, Value: value})
	}
	if v.BodyBase64 != nil {
		m.Body = v.BodyBase64
	}
	return m
}

func (v *vector) kind(t *testing.T) messaging.Kind {
	for _, k := range []messaging.Kind{messaging.KindRPC, messaging.KindReply, messaging.KindNotify} {
		if k.String() == v.Kind {
			return k
		}
	}
	t.Fatalf("unknown kind %q", v.Kind)
	return 0
}

func vectors(tb testing.TB) map[string]*vector {
	tb.Helper()
	paths, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(paths) < 30 {
		tb.Fatalf("%d vectors, %v", len(paths), err)
	}
	all := make(map[string]*vector)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		v := new(vector)
		if err := json.Unmarshal(data, v); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = v
	}
	return all
}

// member is one member of a JSON object, in a slice because order matters.
type member struct {
	Key   string
	Value any
}

func parseMembers(t *testing.T, object []byte) []member {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(object)))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		t.Fatalf("%v in %s", err, object)
	}
	var all []member
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		all = append(all, member{key.(string), value})
	}
	return all
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	return parseMembers(t, []byte(`{"v": `+string(text)+`}`))[0].Value
}

// described is an Envelope with its JSON parsed, so that it can be compared.
type described struct {
	Envelope messaging.Envelope // without Body and Context
	Context  []member
	Body     any
}

func describe(t *testing.T, e *messaging.Envelope) described {
	t.Helper()
	d := described{Envelope: *e}
	for _, c := range e.Context {
		d.Context = append(d.Context, member{c.Key, parse(t, c.Value)})
	}
	if e.Body != nil {
		d.Body = parse(t, e.Body)
		if e.Kind == messaging.KindNotify {
			d.Body = parseMembers(t, e.Body)
		}
	}
	d.Envelope.Body, d.Envelope.Context = nil, nil
	return d
}

// want builds from the parsed inner object what decoding must give.
func (v *vector) want(t *testing.T) described {
	w := described{Envelope: messaging.Envelope{Kind: v.kind(t)}}
	e := &w.Envelope
	if e.Kind == messaging.KindRPC {
		e.Version = "1.0"
	}
	var notification []member
	for _, m := range parseMembers(t, v.Inner) {
		s, _ := m.Value.(string)
		key, isContext := strings.CutPrefix(m.Key, "_context_")
		switch {
		case isContext:
			w.Context = append(w.Context, member{key, m.Value})
		case m.Key == "_unique_id":
			e.ID = s
		case e.Kind == messaging.KindNotify:
			notification = append(notification, m)
			w.Body = notification
		case m.Key == "method":
			e.Method = s
		case m.Key == "namespace":
			e.Namespace = s
		case m.Key == "version":
			e.Version = s
		case m.Key == "_msg_id":
			e.CallID = s
		case m.Key == "_reply_q":
			e.ReplyTo = s
		case m.Key == "_timeout" && m.Value != nil:
			n, _ := m.Value.(json.Number).Int64()
			e.Monitor = time.Duration(n) * time.Second
		case m.Key == "ending":
			e.Final = m.Value.(bool)
		case m.Key == "failure" && m.Value != nil:
			e.Failed = true
		case m.Key == "args", m.Key == "result":
			w.Body = m.Value
		}
	}
	if e.Failed {
		w.Body = parse(t, v.Failure)
	}
	e.Bare = e.Kind == messaging.KindNotify && !strings.HasPrefix(v.Body, `{"oslo.version"`)
	return w
}

func TestOsloVectors(t *testing.T) {
	codec := wire.Oslo(0)
	for name, v := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			m := v.message()
			if !codec.Accepts(m) {
				t.Fatal("not accepted")
			}
			e := messaging.Envelope{Kind: v.kind(t)}
			if err := codec.Decode(m, &e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.want(t), describe(t, &e)); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// Python's JSON has a blank behind commas and colons, and what we pass on is
// taken as it came: so encoding what was decoded gives the same bytes.
func TestOsloVectorsEncodeAgain(t *testing.T) {
	codec := wire.Oslo(0)
	for name, v := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			e := messaging.Envelope{Kind: v.kind(t)}
			if err := codec.Decode(v.message(), &e); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(v.Inner), `"version"`) {
				e.Version = "" // Python said nothing, and so do we
			}
			var got messaging.Message
			if err := codec.Encode(&e, &got); err != nil {
				t.Fatal(err)
			}
			want := v.message()
			if v.BodyBase64 != nil {
				want.Headers, want.Body = nil, decompressZlib(t, v.BodyBase64)
			}
			if diff := cmp.Diff(string(want.Body), string(got.Body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			want.Body, got.Body = nil, nil
			if diff := cmp.Diff(want, &got); diff != "" {
				t.Errorf("properties (-want +got):\n%s", diff)
			}
		})
	}
}
