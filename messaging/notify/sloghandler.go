package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/patchbay-go/patchbay/internal/jsontext"
)

// LogRecord is the event type of the notifications that a log handler publishes,
// as oslo.messaging's LoggingNotificationHandler does.
const LogRecord = "logrecord"

// LogHandlerOptions are the options of a log handler. Nil means all defaults.
type LogHandlerOptions struct {
	Level slog.Leveler // the least that is published; default: slog.LevelInfo
	Name  string       // of the logger, in the payload; default: the program's
}

// NewLogHandler returns a slog.Handler that publishes records as notifications,
// with the priority of their level: Debug, Info, Warn, Error, and Critical from
// slog.LevelError+4 on. The payload is that of oslo.messaging's handler; the
// record's attributes are in its member "extra".
//
// It never waits: what the queue has no room for is dropped, and counted there.
// What is logged while the queue publishes is not published, so that a log cannot
// feed itself; still, give the queue's transport a logger that does not lead here.
func NewLogHandler(q *Queue, opts *LogHandlerOptions) slog.Handler {
	h := &logHandler{queue: q}
	if opts != nil {
		h.opts = *opts
	}
	if h.opts.Level == nil {
		h.opts.Level = slog.LevelInfo
	}
	program := filepath.Base(os.Args[0])
	if h.opts.Name == "" {
		h.opts.Name = program
	}
	h.program = program
	return h
}

// logHandler lets slog's own handler write the attributes, and takes them from its
// text. Each record has one of its own, without a lock: a value that is logged may log
// itself.
type logHandler struct {
	queue   *Queue
	opts    LogHandlerOptions
	program string
	with    []func(slog.Handler) slog.Handler // what was derived, in its order
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.opts.Level.Level() && !isFromQueue(ctx) && h.queue.notifier.Enabled()
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.derive(func(inner slog.Handler) slog.Handler { return inner.WithAttrs(attrs) })
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return h.derive(func(inner slog.Handler) slog.Handler { return inner.WithGroup(name) })
}

func (h *logHandler) derive(f func(slog.Handler) slog.Handler) slog.Handler {
	d := *h
	d.with = append(slices.Clip(h.with), f)
	return &d
}

// logPayload is the payload, with oslo.messaging's members.
type logPayload struct {
	Name        string          `json:"name"`
	LevelNo     int             `json:"levelno"` // Python's: 10 for debug to 50 for critical
	LevelName   string          `json:"levelname"`
	ExcInfo     any             `json:"exc_info"`
	PathName    string          `json:"pathname"`
	LineNo      int             `json:"lineno"`
	Msg         string          `json:"msg"`
	FuncName    string          `json:"funcName"`
	Thread      any             `json:"thread"`
	ProcessName string          `json:"processName"`
	Process     int             `json:"process"`
	Created     float64         `json:"created,omitempty"` // seconds since 1970, as in Python's records; not in oslo.messaging's payload
	Extra       json.RawMessage `json:"extra"`
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	p := logPayload{Name: h.opts.Name, Msg: r.Message, ProcessName: h.program, Process: os.Getpid()}
	priority := priorityOf(r.Level)
	p.LevelName, p.LevelNo = levelName(priority), 20+int(r.Level)*5/2
	if !r.Time.IsZero() {
		p.Created = float64(r.Time.UnixMicro()) / 1e6
	}
	if r.PC != 0 {
		f, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		p.PathName, p.LineNo, p.FuncName = f.File, f.Line, f.Function
	}
	var err error
	if p.Extra, err = h.extra(ctx, r); err != nil {
		return err
	}
	return h.queue.Notify(ctx, priority, LogRecord, p)
}

// extra returns the attributes of a record as a JSON object, or null.
func (h *logHandler) extra(ctx context.Context, r slog.Record) (extra json.RawMessage, err error) {
	var text bytes.Buffer
	var inner slog.Handler = slog.NewJSONHandler(&text, &slog.HandlerOptions{Level: slog.Level(-1 << 10)})
	inner = inner.WithGroup("extra")
	for _, f := range h.with {
		inner = f(inner)
	}
	if err := inner.Handle(ctx, r); err != nil {
		return nil, err
	}
	jsontext.Members(text.Bytes(), func(name string, value json.RawMessage) {
		if name == "extra" {
			extra = value
		}
	})
	return extra, nil
}

// priorityOf returns the priority of a level.
func priorityOf(l slog.Level) Priority {
	switch {
	case l < slog.LevelInfo:
		return Debug
	case l < slog.LevelWarn:
		return Info
	case l < slog.LevelError:
		return Warn
	case l < slog.LevelError+4:
		return Error
	}
	return Critical
}

// levelName returns Python's name of a priority's level.
func levelName(p Priority) string {
	if p == Warn {
		return "WARNING"
	}
	return strings.ToUpper(string(p))
}
