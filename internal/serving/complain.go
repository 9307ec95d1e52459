package serving

import (
	"context"
	"log/slog"
	"unicode/utf8"

	"github.com/patchbay-go/patchbay/internal/throttle"
)

// Complain logs what whoever sends messages can cause at will: at most as limit
// lets through, with the number of those that it did not.
func Complain(ctx context.Context, log *slog.Logger, limit *throttle.Limit, level slog.Level, msg string, err error, attrs ...slog.Attr) {
	others, ok := limit.Allow()
	if !ok || !log.Enabled(ctx, level) {
		return
	}
	all := []slog.Attr{slog.Any("error", Brief{err})}
	if others > 0 {
		all = append(all, slog.Int64("not_logged", others))
	}
	log.LogAttrs(ctx, level, msg, append(all, attrs...)...)
}

// Brief is an error as it is logged: its text may quote a message.
type Brief struct{ Err error }

const maxLogged = 1 << 10 // bytes

// LogValue implements slog.LogValuer.
func (b Brief) LogValue() slog.Value { return slog.StringValue(Truncate(b.Err.Error(), maxLogged)) }

// Truncate shortens s to limit bytes, between two characters, and says so.
func Truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + " [truncated]"
}
