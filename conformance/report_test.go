package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/conformance/fakeharness"
	"github.com/patchbay-go/patchbay/messaging"
)

// check runs the suite in virtual time.
func check(t *testing.T, h conformance.Harness, o conformance.Options) *conformance.Report {
	t.Helper()
	var r *conformance.Report
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = conformance.Check(t.Context(), h, o); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

// nothing is a driver that takes messages and loses them.
func nothing(d messaging.Driver, _ *messaging.URL) messaging.Driver {
	return &driver{Driver: d, w: newWorld(hooks{send: func(_ context.Context, _ *conn, _ messaging.Address, _ *messaging.Message, done messaging.Completion) error {
		if done != nil {
			done.Complete(nil)
		}
		return nil
	}})}
}

func TestFailureExplainsItself(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := check(t, fakeHarness(0, nothing), conformance.Options{Run: "^cast_one$", Seed: 42, Log: &log})
	c, ok := r.Result("cast_one")
	if !ok || c.Outcome != conformance.Fail || len(r.Failed()) != 1 {
		t.Fatalf("losing every message is %+v", c)
	}
	if c.Ledger.Accepted != 1 || c.Ledger.Lost != 1 || c.Ledger.Received != 0 {
		t.Errorf("the ledger is %+v, want one accepted and lost", c.Ledger)
	}
	for _, want := range []string{c.Rule, "seed: 42", "one is accepted", "fail"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

func TestHungCaseShowsStacks(t *testing.T) {
	t.Parallel()
	r := check(t, fakeHarness(0, func(d messaging.Driver, _ *messaging.URL) messaging.Driver {
		return &driver{Driver: d, w: newWorld(hooks{poll: func(ctx context.Context, l *listener) (*messaging.Delivery, error) {
			return l.next(context.WithoutCancel(ctx))
		}})}
	}), conformance.Options{Run: "poll_timeout_bounds"})
	c, _ := r.Result("poll_timeout_bounds")
	if c.Outcome != conformance.Fail || !strings.Contains(c.Reason, "hung") {
		t.Errorf("a poll that never ends is %s: %s", c.Outcome, c.Reason)
	}
	if !strings.Contains(strings.Join(c.Stacks, "\n"), "pollTimeout") {
		t.Errorf("the stacks do not show the case:\n%s", strings.Join(c.Stacks, "\n"))
	}
}

func TestKnownExceptions(t *testing.T) {
	t.Parallel()
	h := fakeHarness(0, nothing)
	h.Known = []conformance.Exception{
		{Case: "cast_one", Reason: "it loses everything", Link: "https://example.org/1"},
		{Case: "open_ok", Reason: "it was slow once", Flaky: true},
		{Case: "close_idempotent", Reason: "it is not true any more"},
	}
	r := check(t, h, conformance.Options{Run: "^(cast_one|open_ok|close_idempotent|use_after_close_is_typed)$"})
	got := map[string]conformance.Outcome{}
	for _, c := range r.Cases {
		got[c.ID] = c.Outcome
	}
	want := map[string]conformance.Outcome{
		"cast_one": conformance.XFail, "open_ok": conformance.Pass,
		"close_idempotent": conformance.XPass, "use_after_close_is_typed": conformance.Pass,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if want := "must 3/4 · 1 known to fail · 1 known to fail, yet passed"; r.Summary() != want {
		t.Errorf("the summary is %q, want %q", r.Summary(), want)
	}
	if c, _ := r.Result("cast_one"); !strings.Contains(c.Reason, "it loses everything") || c.Link == "" {
		t.Errorf("the expected failure says %q, link %q", c.Reason, c.Link)
	}
}

func TestBadUse(t *testing.T) {
	t.Parallel()
	good := fakeHarness(0, nil)
	unknown, unreasoned, down := good, good, good
	unknown.Known = []conformance.Exception{{Case: "no_such_case", Reason: "x"}}
	unreasoned.Known = []conformance.Exception{{Case: "open_ok"}}
	down.Open = func(context.Context) (*messaging.Transport, error) { return nil, errors.New("down today") }
	for _, tt := range []struct {
		name string
		h    conformance.Harness
		o    conformance.Options
		want string
	}{
		{"no Open", conformance.Harness{}, conformance.Options{}, "Harness.Open"},
		{"unknown exception", unknown, conformance.Options{}, "no_such_case"},
		{"exception without a reason", unreasoned, conformance.Options{}, "no reason"},
		{"bad expression", good, conformance.Options{Run: "("}, "Options.Run"},
		{"nothing matches", good, conformance.Options{Run: "^nothing$"}, "none of levels"},
		{"unknown level", good, conformance.Options{Levels: []conformance.Level{"perhaps"}}, "perhaps"},
		{"peer is down", down, conformance.Options{}, "down today"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := conformance.Check(t.Context(), tt.h, tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestCheckEndsWithContext(t *testing.T) {
	t.Parallel()
	for _, at := range []struct {
		name  string
		cases int
	}{{"between cases", 2}, {"after the last", 5}} {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			r, err := conformance.Check(ctx, fakeHarness(0, nil), conformance.Options{Run: "^open", Progress: func(conformance.Result) {
				if n++; n == at.cases {
					cancel()
				}
			}})
			if !errors.Is(err, context.Canceled) || len(r.Cases) != at.cases {
				t.Errorf("cancelled after %d cases: %d cases, %v", at.cases, len(r.Cases), err)
			}
		})
	}
}

// TestInterruptedCaseIsNoFailure: what a driver shows of a case that was cut
// short says nothing about the driver.
func TestInterruptedCaseIsNoFailure(t *testing.T) {
	t.Parallel()
	cause := errors.New("somebody lost patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := func(d messaging.Driver, _ *messaging.URL) messaging.Driver {
		return &driver{Driver: d, w: newWorld(hooks{send: func(context.Context, *conn, messaging.Address, *messaging.Message, messaging.Completion) error {
			cancel(cause)
			return cause
		}})}
	}
	var log bytes.Buffer
	r, err := conformance.Check(ctx, fakeHarness(0, stop), conformance.Options{Run: "^cast_one$", Log: &log})
	if !errors.Is(err, cause) {
		t.Errorf("the error is %v, want one that is %q", err, cause)
	}
	if c, _ := r.Result("cast_one"); c.Outcome != conformance.Skip || !strings.Contains(c.Reason, cause.Error()) {
		t.Errorf("the case that was interrupted is %s: %s", c.Outcome, c.Reason)
	}
	if strings.Contains(log.String(), "why it matters") {
		t.Errorf("the log tells of a failure:\n%s", log.String())
	}
}

// TestLostOnTheWay: a driver that does not know an outcome need not be wrong about a
// message that never arrived. One of which none arrives is.
func TestLostOnTheWay(t *testing.T) {
	t.Parallel()
	for lost, want := range map[string]conformance.Outcome{"answer lost/0": conformance.Pass, "answer lost": conformance.Fail} {
		swallow := func(d messaging.Driver, _ *messaging.URL) messaging.Driver {
			return &driver{Driver: d, w: newWorld(hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
				if bytes.Contains(m.Body, []byte(lost)) {
					done.Complete(messaging.ErrOutcomeUnknown)
					return nil
				}
				return c.Conn.Send(ctx, to, m, done)
			}})}
		}
		r := check(t, fakeHarness(0, swallow), conformance.Options{Run: "^cut_between_write_and_confirm$"})
		if c := r.Cases[0]; c.Outcome != want {
			t.Errorf("with %q lost on the way: %s, want %s (%s)", lost, c.Outcome, want, c.Reason)
		}
	}
}

// TestStandstill: heartbeats that do not come fail a driver, unless the process
// stood still meanwhile.
func TestStandstill(t *testing.T) {
	for stop, want := range map[string]conformance.Outcome{
		"":                             conformance.Fail,
		"kill -STOP $0; kill -CONT $0": conformance.Fail, // too short to matter
		"kill -STOP $0; sleep 0.6; kill -CONT $0": conformance.Pass,
	} {
		var mu sync.Mutex
		lost := "" // the address that heartbeats do not reach
		lose := hooks{send: func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
			mu.Lock()
			defer mu.Unlock()
			beat, _ := m.Header("pb-heartbeat")
			if beat == "true" && lost == "" {
				lost = to.Direct
				if out, err := exec.CommandContext(t.Context(), "sh", "-c", stop, strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
					t.Errorf("%q: %v, %s", stop, err, out)
				}
			}
			if beat == "true" && to.Direct == lost {
				done.Complete(nil)
				return nil
			}
			return c.Conn.Send(ctx, to, m, done)
		}}
		h := fakeharness.New(fakeharness.Options{
			Transport: &messaging.Options{Logger: slog.New(slog.DiscardHandler), ReplyWindow: time.Millisecond}, // it is real time
			Wrap: func(d messaging.Driver, _ *messaging.URL) messaging.Driver {
				return &driver{Driver: d, w: newWorld(lose)}
			},
		})
		report, err := conformance.Check(t.Context(), h, conformance.Options{Run: "^heartbeat_keeps_long_call$"})
		if err != nil {
			t.Fatal(err)
		}
		if c := report.Cases[0]; c.Outcome != want {
			t.Errorf("%q: %s, want %s (%s)", stop, c.Outcome, want, c.Reason)
		}
	}
}

func TestSkips(t *testing.T) {
	t.Parallel()
	h := fakeHarness(0, nil)
	h.OpenURL, h.DeadLetters, h.Fault = nil, nil, conformance.Faults{}
	r := check(t, h, conformance.Options{Run: "^(open_bad_url|drop_is_kept_aside|durable_survives_restart|stop_during_reconnect|ttl_expires)$"})
	for _, c := range r.Cases {
		if want := c.ID != "ttl_expires"; (c.Outcome == conformance.Skip) != want || want && c.Reason == "" {
			t.Errorf("%s is %s: %s", c.ID, c.Outcome, c.Reason)
		}
	}
	if diff := cmp.Diff([]string{"ttl"}, r.Proven); diff != "" {
		t.Errorf("proven (-want +got):\n%s", diff)
	}
}

// TestEveryCapabilityHasCases keeps the suite complete.
func TestEveryCapabilityHasCases(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(messaging.Capabilities{})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	cases := map[string]int{}
	for _, c := range conformance.List() {
		cases[c.Cap]++
	}
	for name, v := range fields {
		if _, yesNo := v.(bool); yesNo && cases[name] == 0 {
			t.Errorf("no case proves %s", name)
		}
		delete(cases, name)
	}
	delete(cases, "")
	if len(cases) > 0 {
		t.Errorf("cases for capabilities that are none: %v", cases)
	}
}

func report(outcomes map[string]conformance.Outcome, proven ...string) *conformance.Report {
	r := &conformance.Report{Schema: conformance.Schema, Driver: "d", Broker: "b|1", Proven: proven}
	for _, c := range conformance.List() {
		if o, ok := outcomes[c.ID]; ok {
			r.Cases = append(r.Cases, conformance.Result{ID: c.ID, Level: c.Level, Capability: c.Cap, Outcome: o, Reason: "since\nthen"})
		}
	}
	return r
}

func TestDiff(t *testing.T) {
	t.Parallel()
	before := report(map[string]conformance.Outcome{
		"open_ok": "pass", "cast_one": "pass", "call_void": "fail", "call_reply": "xfail", "call_to_self": "pass",
		"topic_isolation": "skip", "ack_once": "xpass",
	}, "ttl", "priority")
	after := report(map[string]conformance.Outcome{
		"open_ok": "pass", "cast_one": "fail", "call_void": "pass", "call_reply": "fail", "ack_once": "pass",
		"topic_isolation": "fail", "double_ack_harmless": "fail",
	}, "ttl", "groups")
	var got []string
	for _, c := range conformance.Diff(before, after) {
		got = append(got, c.String())
	}
	want := []string{
		"cast_one: pass → fail (regression)",
		"call_reply: xfail → fail (regression)",
		"call_void: fail → pass",
		"call_to_self: pass → absent (regression)",
		"topic_isolation: skip → fail",
		"ack_once: xpass → pass",
		"double_ack_harmless: absent → fail",
		"capability priority: proven → not proven (regression)",
		"capability groups: not proven → proven",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if changes := conformance.Diff(before, before); len(changes) > 0 {
		t.Errorf("a report differs from itself: %v", changes)
	}
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	err := conformance.WriteMatrix(&b,
		report(map[string]conformance.Outcome{"open_ok": "pass", "ttl_expires": "skip"}),
		report(map[string]conformance.Outcome{"open_ok": "fail"}))
	if err != nil {
		t.Fatal(err)
	}
	want := `| case | level | d b\|1 | d b\|1 |
|---|---|---|---|
| **all** | | must 1/1 · 1 skipped | must 0/1 |
| open_ok | must | pass | fail |
| ttl_expires | cap ttl | skip: since then | – |
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("matrix (-want +got):\n%s", diff)
	}
}

func TestReportSurvivesJSON(t *testing.T) {
	t.Parallel()
	r := check(t, fakeHarness(0, nil), conformance.Options{Run: "^(open_ok|ttl_expires)$", Seed: 1<<64 - 1})
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	again, err := conformance.ReadReport(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Errorf("after JSON (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "{", `{"schema":2}`} {
		if _, err := conformance.ReadReport(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read as a report", bad)
		}
	}
}

func TestFromURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, driver, wrong string }{
		{"fake://", "fake", ""},
		{"rabbit+tls://host/vhost", "rabbit", ""},
		{"rabbit://me:pass@host:1/vhost?a=b", "rabbit", "rabbit://me:conformance-Wr0ng-s3cret@host:1/vhost?a=b"},
		{"rabbit://me:pass@[::1]:1,you:p@other/", "rabbit", "rabbit://me:conformance-Wr0ng-s3cret@[::1]:1/"},
		{"rabbit://m%40e:pa%2Fss@host", "rabbit", "rabbit://m%40e:conformance-Wr0ng-s3cret@host"},
	} {
		h := conformance.FromURL(messaging.Registry{}, tt.url, nil)
		if h.Driver != tt.driver || h.WrongPassword != tt.wrong || (h.Unreachable == "") != (tt.url == "fake://") {
			t.Errorf("%s: driver %q, wrong password %q, unreachable %q", tt.url, h.Driver, h.WrongPassword, h.Unreachable)
		}
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	r := &conformance.Report{
		Capabilities: messaging.Capabilities{Durable: true, TTL: true, MaxMessage: 5},
		Proven:       []string{"ttl"},
	}
	got := r.Verdicts()
	for name, want := range map[string]string{"durable": "declared", "ttl": "proven", "requeue": "no", "max_message": ""} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}
