package rabbit_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// victim is a server with a client, both with logs of their own.
type victim struct {
	b         *broker
	transport *messaging.Transport // the server's
	callers   *messaging.Transport
	server    *rpc.Server
	client    *rpc.Client
	log       lines
}

// lines is a log, by its lines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// hostileLimit is the MaxMessage of a victim.
const hostileLimit = 8 << 20

func newVictim(t *testing.T, version string) *victim {
	t.Helper()
	v := &victim{b: newBrokerOf(t, version)}
	v.transport, v.callers = v.open(t), v.open(t)
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "echo", func(_ context.Context, a map[string]any) (any, error) { return a["v"], nil })
	rpc.Handle(ep, "panic", func(context.Context, map[string]any) (any, error) { panic("on purpose") })
	rpc.Handle(ep, "exit", func(context.Context, map[string]any) (any, error) { runtime.Goexit(); return nil, nil })
	rpc.Handle(ep, "channel", func(context.Context, map[string]any) (any, error) { return make(chan int), nil })
	rpc.Handle(ep, "huge", func(context.Context, map[string]any) (any, error) { return strings.Repeat("x", 100<<20), nil })
	rpc.Handle(ep, "_x", func(context.Context, map[string]any) (any, error) { return "private", nil })
	var err error
	v.server, err = rpc.NewServer(v.transport, messaging.Target{Topic: "volume", Server: "h"}, []*rpc.Endpoint{ep},
		&rpc.ServerOptions{Logger: slog.New(slog.NewTextHandler(&v.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.server.Start(within(t, limit)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := v.server.Wait(ctx); err != nil {
			t.Errorf("Wait = %v", err)
		}
	})
	v.client = rpc.NewClient(v.callers, messaging.Target{Topic: "volume"}, nil)
	v.good(t)
	v.log.take()
	return v
}

func (v *victim) open(t *testing.T) *messaging.Transport {
	t.Helper()
	transport, err := messaging.Registry{"rabbit": rabbit.Open}.Open(within(t, limit), v.b.URL("max_message_size=16777216"), &messaging.Options{
		Logger: slog.New(slog.NewTextHandler(&v.log, nil)), MaxMessage: hostileLimit, ReplyWindow: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := transport.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return transport
}

// good makes a call that must be answered.
func (v *victim) good(t *testing.T) {
	t.Helper()
	var got string
	if err := v.client.Call(within(t, limit), "echo", rpc.Args{"v": "good"}, &got); err != nil || got != "good" {
		t.Fatalf("a good call = %q, %v", got, err)
	}
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Since(begin) > limit {
			t.Fatalf("never: %s", what)
		}
	}
}

// drained waits until a queue is empty, with nothing unacknowledged: a
// consumer that went would give that back.
func (v *victim) drained(t *testing.T, queue string) {
	t.Helper()
	v.b.waiting(t, queue, 0)
}

// waiting waits until n messages wait in a queue.
func (b *broker) waiting(t *testing.T, queue string, n int) {
	t.Helper()
	b.raw(t, func(ch *amqp.Channel) {
		eventually(t, fmt.Sprint(n, " wait in ", queue), func() bool {
			q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			return q.Messages == n
		})
	})
}

// attack is what a stranger publishes.
type attack struct {
	name string
	m    amqp.Publishing
	want string // how the server counts it: "undecodable", "failed" or "handled"; empty: in more than one way
}

// oslo returns a message as a Python client sends it.
func oslo(inner string) amqp.Publishing {
	quoted, _ := json.Marshal(inner)
	return amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8",
		Body: fmt.Appendf(nil, `{"oslo.version": "2.0", "oslo.message": %s}`, quoted),
	}
}

// native returns a message of the native wire format.
func native(headers amqp.Table) amqp.Publishing {
	return amqp.Publishing{ContentType: "application/vnd.patchbay.v1+json", Headers: headers, Body: []byte("{}")}
}

func with(m amqp.Publishing, change func(*amqp.Publishing)) amqp.Publishing {
	change(&m)
	return m
}

// nested returns tables (or, each second one, arrays) inside each other.
func nested(depth int) amqp.Table {
	t := amqp.Table{"end": "x"}
	for i := range depth {
		if i%2 == 0 {
			t = amqp.Table{"t": t}
		} else {
			t = amqp.Table{"a": []any{t}}
		}
	}
	return t
}

func wide(n int) amqp.Table {
	t := amqp.Table{}
	for i := range n {
		t[fmt.Sprintf("%05x", i)] = nil
	}
	return t
}

func zeros(t *testing.T, how string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	var (
		w   io.WriteCloser
		err error
	)
	if how == "zlib" {
		w, err = zlib.NewWriterLevel(&b, flate.BestSpeed)
	} else {
		w, err = gzip.NewWriterLevel(&b, flate.BestSpeed)
	}
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for range n >> 20 {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func attacks(t *testing.T) []attack {
	t.Helper()
	raw := func(contentType string, body string) amqp.Publishing {
		return amqp.Publishing{ContentType: contentType, Body: []byte(body)}
	}
	call := func(id, reply, rest string) amqp.Publishing {
		return oslo(fmt.Sprintf(`{"method": "echo", "args": {"v": 1}, "version": "1.0", "_unique_id": "u%x", "_msg_id": %s, "_reply_q": %s%s}`,
			time.Now().UnixNano(), id, reply, rest))
	}
	bomb := func(how, header string) amqp.Publishing {
		m := raw("application/json", string(zeros(t, how, 128<<20)))
		m.Headers = amqp.Table{"compression": header}
		return m
	}
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	big := strings.Repeat("\x00", 5<<20)
	return []attack{
		{"nothing", raw("", ""), "undecodable"},
		{"nothing, of the right type", raw("application/json", ""), "undecodable"},
		{"not JSON", raw("application/json", "\x80\x02}q\x00."), "undecodable"},
		{"half of JSON", raw("application/json", `{"oslo.version": "2.0", "oslo.mess`), "undecodable"},
		{"no content type", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) { m.ContentType = "" }), "undecodable"},
		{"pickle", raw("application/x-python-serialize", "cos\nsystem\n(S'true'\ntR."), "undecodable"},
		{"content type of 255 bytes, no UTF-8", raw(strings.Repeat("\xff", 255), "{}"), "undecodable"},
		{"envelope of version 3.0", raw("application/json", `{"oslo.version": "3.0", "oslo.message": "{}"}`), "undecodable"},
		{"envelope of version NaN", raw("application/json", `{"oslo.version": NaN, "oslo.message": "{}"}`), "undecodable"},
		{"envelope with a table", raw("application/json", `{"oslo.version": "2.0", "oslo.message": {}}`), "undecodable"},
		{"nested too deeply", raw("application/json", strings.Repeat("[", 1<<20)), "undecodable"},
		{"arguments nested too deeply", oslo(`{"method": "echo", "args": {"v": ` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}}`), "undecodable"},
		{"5 MB of nothing", raw("application/json", big), "undecodable"},
		{"5 MB of blanks", raw("application/json", strings.Repeat(" ", 5<<20)), "undecodable"},
		{"more than the limit", raw("application/json", strings.Repeat(" ", hostileLimit+1)), "undecodable"},
		{"a reply", oslo(`{"result": 1, "failure": null, "ending": true, "_msg_id": "x", "_unique_id": "y"}`), "undecodable"},
		{"100000 context entries", oslo(manyContext(100_000)), "undecodable"},
		{"zlib bomb", bomb("zlib", "application/x-gzip"), "undecodable"},
		{"gzip bomb", bomb("gzip", "application/x-gzip"), "undecodable"},
		{"no bz2", with(raw("application/json", "BZh9 no"), func(m *amqp.Publishing) { m.Headers = amqp.Table{"compression": "application/x-bz2"} }), "undecodable"},
		{"unknown compression", with(raw("application/json", "{}"), func(m *amqp.Publishing) { m.Headers = amqp.Table{"compression": "application/x-lzma"} }), "undecodable"},

		{"headers nested 20 deep", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) { m.Headers = nested(20) }), "handled"},
		{"headers nested 100 deep", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) { m.Headers = nested(100) }), "handled"},
		{"8000 headers", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) { m.Headers = wide(8000) }), "handled"},
		{"15000 headers", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) { m.Headers = wide(15000) }), "undecodable"},
		{"array of 15000", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) { m.Headers = amqp.Table{"a": make([]any, 15000)} }), "handled"},
		{"a header of 100 kB", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) { m.Headers = amqp.Table{"a": strings.Repeat("x", 100_000)} }), "handled"},
		{"every property", with(oslo(`{"method": "echo", "args": {}}`), func(m *amqp.Publishing) {
			m.Priority, m.DeliveryMode, m.Expiration, m.Type, m.AppId = 255, amqp.Persistent, "4294967295", "\x00", strings.Repeat("\xff", 255)
			m.MessageId, m.CorrelationId, m.ReplyTo = "\x00", strings.Repeat("\xff", 255), "\x00"
			m.Timestamp = time.Unix(-1<<62, 0)
			m.Headers = amqp.Table{"x-death": []any{int32(1)}, "x-delivery-count": "many", "d": amqp.Decimal{Scale: 255, Value: -1 << 31}}
		}), "handled"},

		{"private method", oslo(`{"method": "_x", "args": {}}`), "failed"},
		{"__class__", oslo(`{"method": "__class__", "args": {}}`), "failed"},
		{"unknown method of 1 MB", oslo(`{"method": ` + long(1<<20) + `, "args": {}}`), "failed"},
		{"unknown namespace", oslo(`{"method": "echo", "namespace": "../../etc", "args": {}}`), "failed"},
		{"unknown version", oslo(`{"method": "echo", "version": "99999999999999999999.-1", "args": {}}`), "failed"},
		{"version NaN", oslo(`{"method": "echo", "version": NaN, "args": {}}`), "failed"},
		{"arguments that are a number of 1 MB", oslo(`{"method": "echo", "args": ` + strings.Repeat("9", 1<<20) + `}`), "failed"},
		{"unencodable result", oslo(`{"method": "channel", "args": {}}`), "failed"},
		{"panic", oslo(`{"method": "panic", "args": {}}`), "failed"},
		{"runtime.Goexit", oslo(`{"method": "exit", "args": {}}`), "failed"},

		{"call id of 5 MB", call(long(5<<20), `"nowhere"`, ""), "undecodable"},
		{"call id with NUL", call(`"\u0000"`, `"nowhere2"`, ""), "handled"},
		{"call id that is a table", call(`{"a": 1}`, `["x"]`, ""), "handled"},
		{"unique id of 5 MB", oslo(`{"method": "echo", "args": {}, "_unique_id": ` + long(5<<20) + `}`), "undecodable"},
		{"reply queue of 300 bytes", call(`"a"`, long(300), ""), "handled"},
		{"reply queue of 5 MB", call(`"a"`, long(5<<20), ""), "undecodable"},
		{"reply queue that is the server's", call(`"a"`, `"volume.h"`, ""), ""},
		{"reply queue that is the topic's, monitored", call(`"a"`, `"volume"`, `, "_timeout": 0.00001`), ""},
		{"reply queue amq.", call(`"a"`, `"amq.gen-nobody"`, ""), "handled"},
		{"direct reply-to", call(`"a"`, `"amq.rabbitmq.reply-to"`, ""), "handled"},
		{"direct reply-to of nobody", call(`"a"`, `"amq.rabbitmq.reply-to.g1h2AAxyZXBseUA0"`, ""), "handled"},
		{"direct reply-to, no base64", call(`"a"`, `"amq.rabbitmq.reply-to.\u0000!"`, ""), "handled"},
		{"monitor of 1e300 s", call(`"a"`, `"nowhere3"`, `, "_timeout": 1e300`), "handled"},
		{"monitor of -1 s", call(`"a"`, `"nowhere4"`, `, "_timeout": -1`), "handled"},
		{"monitor of NaN s", call(`"a"`, `"nowhere5"`, `, "_timeout": NaN`), "handled"},
		{"monitor of 1 ns", call(`"a"`, `"nowhere6"`, `, "_timeout": 1e-9`), "handled"},

		{"native, nothing", native(nil), "undecodable"},
		{"native, 2^63 ms", native(amqp.Table{"pb-method": "echo", "pb-timeout-ms": "9223372036854775808"}), "undecodable"},
		{"native, -1 ms", native(amqp.Table{"pb-method": "echo", "pb-timeout-ms": int64(-1)}), "undecodable"},
		{"native, NaN ms", native(amqp.Table{"pb-method": "echo", "pb-monitor-ms": "NaN"}), "undecodable"},
		{"native, 292 years", native(amqp.Table{"pb-method": "echo", "pb-timeout-ms": "9223372036854"}), "handled"},
		{"native, context no JSON", native(amqp.Table{"pb-method": "echo", "pb-context": "{"}), "undecodable"},
		{"native, no UTF-8", with(native(amqp.Table{"pb-method": "\xff\xfe", "pb-namespace": "\x00"}), func(m *amqp.Publishing) { m.MessageId = "\xff" }), "failed"},
		{"native, reply to the topic", with(native(amqp.Table{"pb-method": "echo", "pb-monitor-ms": "1"}), func(m *amqp.Publishing) { m.ReplyTo, m.CorrelationId = "volume", "\x00" }), ""},
	}
}

func manyContext(n int) string {
	var b strings.Builder
	b.WriteString(`{"method": "echo", "args": {}`)
	for i := range n {
		fmt.Fprintf(&b, `, "_context_%d": 1`, i)
	}
	b.WriteByte('}')
	return b.String()
}

// TestHostileMessages: whatever a stranger publishes is counted, logged once at
// most and briefly, gone, and the connection and the server live.
func TestHostileMessages(t *testing.T) {
	all := attacks(t) // to make them takes longer than to survive them
	for _, version := range []string{"3.10", "4.3"} {
		t.Run(version, func(t *testing.T) {
			v := newVictim(t, version)
			v.b.raw(t, func(ch *amqp.Channel) {
				for _, a := range all {
					t.Run(a.name, func(t *testing.T) { v.suffer(t, ch, a) })
				}
			})
			if stats := v.transport.Stats(); stats.ConnsLost != 0 {
				t.Errorf("%d connections were lost", stats.ConnsLost)
			}
		})
	}
}

func (v *victim) suffer(t *testing.T, ch *amqp.Channel, a attack) {
	before, served := v.transport.Stats(), v.server.Stats()
	if err := ch.PublishWithContext(t.Context(), "", "volume.h", false, false, a.m); err != nil {
		t.Fatal(err)
	}
	var undecodable, failed, handled uint64
	eventually(t, "it is counted", func() bool {
		now, server := v.transport.Stats(), v.server.Stats()
		undecodable = now.Undecodable - before.Undecodable
		failed, handled = server.Failed-served.Failed, server.Handled-served.Handled
		return undecodable+handled > 0 && server.Running == 0
	})
	for _, queue := range []string{"volume", "volume.h"} {
		v.drained(t, queue)
	}
	v.good(t)
	got := "handled"
	switch {
	case undecodable > 0:
		got = "undecodable"
	case failed > 0:
		got = "failed"
	}
	if a.want != "" && got != a.want {
		t.Errorf("it was counted as %s, want %s", got, a.want)
	}
	if now := v.transport.Stats(); now.ConnsLost != before.ConnsLost {
		t.Error("the connection was lost")
	}
	logged := v.log.take()
	if len(logged) > 3 {
		t.Errorf("%d lines were logged, such as\n%.500s", len(logged), logged[0])
	}
	for _, line := range logged {
		if len(line) > 4096 {
			t.Errorf("a line of %d bytes was logged: %.500s", len(line), line)
		}
	}
}
