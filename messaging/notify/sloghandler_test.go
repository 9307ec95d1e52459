package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging/notify"
)

// logged returns a handler, and what was published through it so far.
func logged(opts *notify.LogHandlerOptions) (h slog.Handler, published func() []notify.Notification) {
	var got []notify.Notification
	keep := notify.DriverFunc(func(_ context.Context, n *notify.Notification) error { got = append(got, *n); return nil })
	q := notify.NewQueue(notify.NewNotifier("host1", []notify.Driver{keep}, nil), nil)
	return notify.NewLogHandler(q, opts), func() []notify.Notification {
		_ = q.Close(context.Background())
		return got
	}
}

// TestLogHandler: it does what slog asks of every handler.
func TestLogHandler(t *testing.T) {
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		t.Helper()
		h, published := logged(nil)
		results[t] = published
		return h
	}, func(t *testing.T) map[string]any {
		t.Helper()
		n := results[t]()[0]
		var p map[string]any
		if err := json.Unmarshal(n.Payload, &p); err != nil {
			t.Fatal(err)
		}
		record := map[string]any{slog.LevelKey: p["levelname"], slog.MessageKey: p["msg"]}
		if at, ok := p["created"]; ok {
			record[slog.TimeKey] = at
		}
		if p["lineno"] != 0.0 {
			record[slog.SourceKey] = p["pathname"]
		}
		if extra, ok := p["extra"].(map[string]any); ok {
			maps.Copy(record, extra)
		}
		return record
	})
}

var results = map[*testing.T]func() []notify.Notification{} // tests of slogtest run one after the other

// talkative logs when it is logged, as what loads its text lazily may do.
type talkative struct{ log *slog.Logger }

func (v talkative) LogValue() slog.Value {
	v.log.Info("inner")
	return slog.StringValue("outer value")
}

// TestLogWithinLog: slog's own handlers can be called while they are; so can ours.
func TestLogWithinLog(t *testing.T) {
	h, published := logged(nil)
	log := slog.New(h)
	over := make(chan struct{})
	go func() {
		defer close(over)
		log.Info("outer", "v", talkative{log})
	}()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Fatal("a value that logs locks the handler for ever")
	}
	var got []string
	for _, n := range published() {
		var p struct {
			Msg   string
			Extra map[string]any
		}
		if err := n.Decode(&p); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %v", p.Msg, p.Extra))
	}
	if d := cmp.Diff([]string{"inner map[]", "outer map[v:outer value]"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLogRecords(t *testing.T) {
	h, published := logged(&notify.LogHandlerOptions{Level: slog.LevelDebug, Name: "nova.compute"})
	log := slog.New(h).With("host", "h").WithGroup("g")
	log.Debug("a")
	log.Info("b", "msg", "mine", "err", errors.New("disk full"))
	log.Warn("c")
	log.Error("d")
	log.Log(t.Context(), slog.LevelError+4, "e")
	log.Log(t.Context(), slog.LevelDebug-1, "too low")
	var got []string
	all := published()
	for _, n := range all {
		var p struct {
			Name      string
			LevelNo   int
			LevelName string
			Msg       string
			PathName  string
			FuncName  string
			LineNo    int
			Extra     json.RawMessage
		}
		if err := json.Unmarshal(n.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if n.EventType != notify.LogRecord || p.Name != "nova.compute" || p.LineNo == 0 ||
			!strings.HasSuffix(p.PathName, "sloghandler_test.go") || !strings.HasSuffix(p.FuncName, "TestLogRecords") {
			t.Errorf("event %q, payload %s", n.EventType, n.Payload)
		}
		got = append(got, strings.Join([]string{string(n.Priority), p.LevelName, p.Msg, string(p.Extra)}, " "))
	}
	want := []string{
		`debug DEBUG a {"host":"h"}`, `info INFO b {"host":"h","g":{"msg":"mine","err":"disk full"}}`,
		`warn WARNING c {"host":"h"}`, `error ERROR d {"host":"h"}`, `critical CRITICAL e {"host":"h"}`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var members map[string]any
	if err := json.Unmarshal(all[0].Payload, &members); err != nil {
		t.Fatal(err)
	}
	oslo := []string{
		"name", "levelno", "levelname", "exc_info", "pathname", "lineno", "msg", "funcName", "thread", "processName", "process", "extra",
	}
	for _, name := range oslo {
		if _, ok := members[name]; !ok {
			t.Errorf("oslo.messaging's member %q is missing of %v", name, slices.Sorted(maps.Keys(members)))
		}
	}
	if members["levelno"] != 10.0 {
		t.Errorf("levelno %v", members["levelno"])
	}
}

// TestLogDoesNotFeedItself: what publishing logs is not published.
func TestLogDoesNotFeedItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log *slog.Logger
		calls := 0
		driver := notify.DriverFunc(func(ctx context.Context, n *notify.Notification) error {
			calls++
			_ = notify.Log(log).Notify(ctx, n)
			return errors.New("disk full") // which the queue logs
		})
		n := notify.NewNotifier("p", []notify.Driver{driver}, nil)
		var h slog.Handler
		q := notify.NewQueue(n, &notify.QueueOptions{Logger: slog.New(lazyHandler{&h})})
		h = notify.NewLogHandler(q, nil)
		log = slog.New(h)
		log.Error("once")
		synctest.Wait()
		if err := q.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if calls != 1 {
			t.Errorf("one record was published %d times", calls)
		}
	})
}

// lazyHandler is a handler that is made later.
type lazyHandler struct{ h *slog.Handler }

func (l lazyHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return (*l.h).Enabled(ctx, level)
}

func (l lazyHandler) Handle(ctx context.Context, r slog.Record) error { return (*l.h).Handle(ctx, r) }
func (l lazyHandler) WithAttrs(a []slog.Attr) slog.Handler            { return (*l.h).WithAttrs(a) }
func (l lazyHandler) WithGroup(n string) slog.Handler                 { return (*l.h).WithGroup(n) }
