package notify

import (
	"log/slog"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/internal/throttle"
)

// complain logs what whoever publishes can cause at will.
func (j *job) complain(limit *throttle.Limit, level slog.Level, msg string, err error, it *item, attrs ...slog.Attr) {
	serving.Complain(j.session.Plain, j.listener.opts.Logger, limit, level, msg, err, append(attrs, it.about()...)...)
}

func (j *job) log(level slog.Level, msg string, it *item, attrs ...slog.Attr) {
	if j.listener.opts.Logger.Enabled(j.session.Plain, level) {
		j.listener.opts.Logger.LogAttrs(j.session.Plain, level, msg, append(attrs, it.about()...)...)
	}
}

// about tells which notification a line of the log is about.
func (it *item) about() []slog.Attr {
	return []slog.Attr{
		slog.String("event_type", serving.Truncate(it.EventType, 100)),
		slog.String("topic", it.Target.Topic),
	}
}

// ListenerStats are a Listener's numbers. Counters only grow.
type ListenerStats struct {
	Running   int    `json:"running"`   // in hand now, batches as one, those that wait to be given back included
	Handled   uint64 `json:"handled"`   // notifications whose handlers have returned; those without a handler included
	Failed    uint64 `json:"failed"`    // of those, with an error that is not ErrRequeue alone
	Panics    uint64 `json:"panics"`    // of those, by a panic
	Requeued  uint64 `json:"requeued"`  // given back to be handled again
	Abandoned uint64 `json:"abandoned"` // dropped after MaxAttempts
}

type counters struct{ handled, failed, panics, requeued, abandoned atomic.Uint64 }

// Stats returns counters and gauges of the moment.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{
		Running:   l.receiver.Running(),
		Handled:   l.stats.handled.Load(),
		Failed:    l.stats.failed.Load(),
		Panics:    l.stats.panics.Load(),
		Requeued:  l.stats.requeued.Load(),
		Abandoned: l.stats.abandoned.Load(),
	}
}
