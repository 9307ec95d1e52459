package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

type volume struct {
	ID   string `json:"id"`
	Size int    `json:"size"`
}

// TestEveryPriority: what is published with a priority arrives as it was, with
// that priority, in both formats.
func TestEveryPriority(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newRecord(nil, notify.Priorities()...)
		b.listen(nil, &r.Endpoint)
		ctx := rpc.NewContext(t.Context(), "request_id", "req-1")
		for _, format := range []notify.Format{notify.V1, notify.V2} {
			n := b.notifier(&notify.MessagingOptions{Format: format})
			for i, publish := range []func(context.Context, string, any) error{
				n.Audit, n.Debug, n.Info, n.Warn, n.Error, n.Critical, n.Sample,
			} {
				if err := publish(ctx, "volume.create", volume{"v-1", i}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				p := notify.Priorities()[i]
				got := r.got[len(r.got)-1]
				want := notify.Notification{
					Priority: p, EventType: "volume.create", PublisherID: "pub",
					Context: []messaging.ContextValue{{Key: "request_id", Value: []byte(`"req-1"`)}},
					Target:  target,
				}
				ignore := cmpopts.IgnoreFields(notify.Notification{}, "Payload", "MessageID", "Timestamp")
				if d := cmp.Diff(want, got, ignore); d != "" {
					t.Errorf("%s (-want +got):\n%s", p, d)
				}
				var v volume
				if err := got.Decode(&v); err != nil || v != (volume{"v-1", i}) {
					t.Errorf("%s: payload %s, %v", p, got.Payload, err)
				}
				if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(got.MessageID) {
					t.Errorf("%s: message id %q is no UUID", p, got.MessageID)
				}
				if at, err := got.Time(); err != nil || !at.Equal(time.Now()) {
					t.Errorf("%s: time %v, %v of %q", p, at, err, got.Timestamp)
				}
			}
		}
	})
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 22, 23, 21, 19, 346559000, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-11-22 23:21:19.346559":        want,
		"2026-11-22T23:21:19.346559":        want,
		"2026-11-22T23:21:19.346559Z":       want,
		"2026-11-22 22:21:19.346559-01:00":  want,
		"2026-11-22 23:21:19":               want.Truncate(time.Second),
		"2026-11-22T23:21:19.346559+00:00 ": {},
		"yesterday":                         {},
		"":                                  {},
	} {
		n := notify.Notification{Timestamp: text}
		got, err := n.Time()
		if !got.Equal(want) || (err == nil) == want.IsZero() {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
}

// TestNothingIsLostWithoutListeners: publishing declares the queue.
func TestNothingIsLostWithoutListeners(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		n := b.notifier(&notify.MessagingOptions{Topics: []string{"notifications", "versioned"}})
		if err := n.Prepare("other").Info(t.Context(), "early", nil); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"notifications", "versioned"} {
			r := newRecord(nil, notify.Info)
			l, err := notify.NewListener(b.open(), []messaging.Target{{Topic: topic}}, []*notify.Endpoint{&r.Endpoint}, nil)
			if err == nil {
				err = l.Start(b.ctx())
			}
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if d := cmp.Diff([]string{"early"}, r.events()); d != "" {
				t.Errorf("%s (-want +got):\n%s", topic, d)
			} else if n := r.got[0]; n.PublisherID != "other" || string(n.Payload) != "null" {
				t.Errorf("got %+v", n)
			}
			if err := l.Wait(b.ctx()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestSecretsStay: what a request context holds beside names and ids is nobody's
// business.
func TestSecretsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		for key, value := range map[string]any{
			"user_id": "u", "roles": []string{"reader"}, "service_user_name": "nova", "auth_token": "s3cret",
			"service_token": "s3cret", "password": "s3cret", "anything": 1,
		} {
			ctx = rpc.NewContext(ctx, key, value) //nolint:fatcontext // a few
		}
		for name, tt := range map[string]struct {
			opts *notify.NotifierOptions
			want []string
		}{
			"default": {nil, []string{"roles", "service_user_name", "user_id"}},
			"all": {
				&notify.NotifierOptions{Context: notify.AllContext},
				[]string{"anything", "auth_token", "password", "roles", "service_token", "service_user_name", "user_id"},
			},
		} {
			var got []string
			keep := notify.DriverFunc(func(_ context.Context, n *notify.Notification) error {
				for _, e := range n.Context {
					got = append(got, e.Key)
				}
				return nil
			})
			if err := notify.NewNotifier("p", []notify.Driver{keep}, tt.opts).Info(ctx, "e", nil); err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	})
}

// TestHandlersSeeTheContext: by rpc.Value, so that calls of a handler pass it on.
func TestHandlersSeeTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep := &notify.Endpoint{}
		seen := make(chan string, 1)
		notify.Handle(ep, notify.Info, func(ctx context.Context, n *notify.Notification, _ any) error {
			var a, b string
			_, err := rpc.Value(ctx, "request_id", &a)
			_, err2 := n.Value("request_id", &b)
			seen <- a + b
			return errors.Join(err, err2)
		})
		b.listen(nil, ep)
		if err := b.notifier(nil).Info(rpc.NewContext(t.Context(), "request_id", "r"), "e", nil); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != "rr" {
			t.Errorf("request ids %q", got)
		}
	})
}

func TestSeveralDrivers(t *testing.T) {
	errDisk := errors.New("disk full")
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		calls := 0
		counts := notify.DriverFunc(func(context.Context, *notify.Notification) error { calls++; return nil })
		fails := notify.DriverFunc(func(context.Context, *notify.Notification) error { return errDisk })
		n := notify.NewNotifier("p", []notify.Driver{
			fails, counts, notify.Noop(), notify.Log(slog.New(slog.NewJSONHandler(log, nil))),
		}, nil)
		err := n.Warn(t.Context(), "volume.attach", map[string]any{
			"host": "h", "adminPass": "s3cret", "nested": []any{map[string]any{"auth_token": "s3cret", "user-password": "s3cret"}},
			"new_pass": "s3cret", "sys_pswd": "s3cret", "passphrase": "s3cret", "ConfigDrive": "s3cret", "encrypted_key": "s3cret",
			"cephClientKey": "s3cret", "rabbit_cookie": "s3cret", "swift_hash_suffix": "s3cret", "api-key": "s3cret",
		})
		if !errors.Is(err, errDisk) || calls != 1 {
			t.Errorf("error %v, and the next driver was called %d times", err, calls)
		}
		line := log.String()
		for _, want := range []string{`"level":"WARN"`, `"event_type":"volume.attach"`, `"publisher_id":"p"`, `"host":"h"`, `"adminPass":"***"`} {
			if !strings.Contains(line, want) {
				t.Errorf("the log has no %s: %s", want, line)
			}
		}
		if strings.Contains(line, "s3cret") {
			t.Errorf("the log has a secret: %s", line)
		}
		// Debug is below the level of that log.
		_ = n.Debug(t.Context(), "quiet", nil)
		if strings.Contains(log.String(), "quiet") {
			t.Error("a debug notification was logged")
		}
	})
}

func TestNobodyToNotify(t *testing.T) {
	n := notify.NewNotifier("p", nil, nil)
	if n.Enabled() {
		t.Error("a notifier without drivers is enabled")
	}
	if err := n.Info(t.Context(), "e", math.NaN()); err != nil { // not even encoded
		t.Error(err)
	}
}

func TestNotifyErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		n := b.notifier(nil)
		bad := rpc.NewContext(t.Context(), "k", math.NaN())
		for name, tt := range map[string]struct {
			err  error
			want error
		}{
			"priority": {n.Notify(t.Context(), "loud", "e", nil), notify.ErrInvalidPriority},
			"payload":  {n.Info(t.Context(), "e", math.NaN()), notify.ErrBadPayload},
			"context":  {n.Info(bad, "e", nil), rpc.ErrBadArguments},
			"topic":    {b.notifier(&notify.MessagingOptions{Topics: []string{"\x00"}}).Info(t.Context(), "e", nil), messaging.ErrInvalidTarget},
		} {
			var op *messaging.OpError
			if !errors.Is(tt.err, tt.want) || !errors.As(tt.err, &op) || !strings.HasPrefix(op.Op, "notifying") {
				t.Errorf("%s: error %v, want one that is %q", name, tt.err, tt.want)
			}
		}
	})
}

// TestRetry: the three meanings of MessagingOptions.Retry while nobody answers.
func TestRetry(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.broker.RefuseNew(true)
		for name, tt := range map[string]struct {
			opts    notify.MessagingOptions
			atLeast time.Duration
			within  time.Duration
		}{
			"none":        {notify.MessagingOptions{Retry: -1}, 0, time.Second},
			"a few":       {notify.MessagingOptions{Retry: 3}, time.Millisecond, 20 * time.Second},
			"the timeout": {notify.MessagingOptions{Timeout: time.Minute}, time.Minute, time.Minute + time.Second},
			"the default": {notify.MessagingOptions{}, notify.DefaultTimeout, notify.DefaultTimeout + time.Second},
		} {
			n := b.notifier(&tt.opts)
			start := time.Now()
			err := n.Info(t.Context(), "e", nil)
			took := time.Since(start)
			if !errors.Is(err, messaging.ErrNotSent) || took < tt.atLeast || took > tt.within {
				t.Errorf("%s: after %v the error is %v", name, took, err)
			}
			if !strings.Contains(err.Error(), `notifying "e" to notifications "notifications.info"`) {
				t.Errorf("%s: the error does not say what failed: %v", name, err)
			}
		}
	})
}

// TestPublishedWhenTheBrokerIsBack: what was not sent is sent again.
func TestPublishedWhenTheBrokerIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.broker.RefuseNew(true)
		time.AfterFunc(10*time.Second, func() { b.broker.RefuseNew(false) })
		if err := b.notifier(nil).Info(t.Context(), "late", nil); err != nil {
			t.Fatal(err)
		}
		r := newRecord(nil, notify.Info)
		b.listen(nil, &r.Endpoint)
		synctest.Wait()
		if d := cmp.Diff([]string{"late"}, r.events()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestMiddlewareOfBothSides(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		var order []string
		say := func(name string) notify.Middleware {
			return func(next notify.Invoker) notify.Invoker {
				return func(ctx context.Context, ns []*notify.Notification) error {
					order = append(order, name+" "+ns[0].EventType)
					ns[0].EventType += "+" + name
					return next(ctx, ns)
				}
			}
		}
		r := newRecord(nil, notify.Info)
		b.listen(&notify.ListenerOptions{Middleware: []notify.Middleware{say("c"), say("d")}}, &r.Endpoint)
		n := notify.NewNotifier("p", []notify.Driver{notify.Messaging(b.open(), nil)}, &notify.NotifierOptions{Middleware: []notify.Middleware{say("a"), say("b")}})
		if err := n.Info(t.Context(), "e", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if d := cmp.Diff([]string{"a e", "b e+a", "c e+a+b", "d e+a+b+c"}, order); d != "" {
			t.Errorf("order (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"e+a+b+c+d"}, r.events()); d != "" {
			t.Errorf("handler (-want +got):\n%s", d)
		}
	})
}

// TestPayloadsKeepTheirText: numbers keep their digits, and Python's NaN stays.
func TestPayloadsKeepTheirText(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newRecord(nil, notify.Info)
		b.listen(nil, &r.Endpoint)
		n := b.notifier(nil)
		for _, text := range []string{`{"n": 9007199254740993, "x": NaN, "s": "a \"NaN\", {b]"}`, `[1, [2, {"a": -Infinity}]]`, `"text"`, `null`} {
			if err := n.Info(t.Context(), "e", json.RawMessage(text)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := string(r.got[len(r.got)-1].Payload); got != text {
				t.Errorf("payload %s, want %s", got, text)
			}
		}
		var v struct {
			N int64
			X rpc.Float
		}
		if err := r.got[0].Decode(&v); err != nil || v.N != 9007199254740993 || !math.IsNaN(float64(v.X)) {
			t.Errorf("decoded %+v, %v", v, err)
		}
	})
}
