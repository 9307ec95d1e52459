package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// quotaError chooses how it travels.
type quotaError struct{ Resource string }

func (e *quotaError) Error() string                       { return "over quota: " + e.Resource }
func (e *quotaError) RemoteClass() (module, class string) { return "cinder.exception", "OverQuota" }
func (e *quotaError) RemoteArgs() ([]any, map[string]any) {
	return []any{e.Resource}, map[string]any{"code": 413}
}

// rudeError panics when it is asked.
type rudeError struct{}

func (rudeError) Error() string { panic("rude") }

func TestEncodeFailure(t *testing.T) {
	nested := rpc.DecodeFailure([]byte(`{"class":"KeyError_Remote","module":"builtins_Remote","message":"'x'","tb":["a\n","b\n"],"args":["x"],"kwargs":{}}`))
	tests := []struct {
		name string
		err  error
		want rpc.RemoteError
	}{
		{"a plain error", errors.New("disk full"), rpc.RemoteError{
			Module: "patchbay", Class: "Error", Message: "disk full",
			Trace: []string{"patchbay.Error: disk full\n"}, Args: json.RawMessage(`["disk full"]`), Kwargs: json.RawMessage(`{}`),
		}},
		{"a chosen class", rpc.NewError("builtins", "ValueError", "boom"), rpc.RemoteError{
			Module: "builtins", Class: "ValueError", Message: "boom",
			Trace: []string{"ValueError: boom\n"}, Args: json.RawMessage(`["boom"]`), Kwargs: json.RawMessage(`{}`),
		}},
		{"wrapped: its class, the whole text", fmt.Errorf("volume 7: %w", rpc.NewError("builtins", "ValueError", "boom")), rpc.RemoteError{
			Module: "builtins", Class: "ValueError", Message: "volume 7: ValueError: boom",
			Trace: []string{"ValueError: volume 7: ValueError: boom\n"}, Args: json.RawMessage(`["volume 7: ValueError: boom"]`), Kwargs: json.RawMessage(`{}`),
		}},
		{"an error type that chooses class and arguments", fmt.Errorf("no: %w", &quotaError{"gigabytes"}), rpc.RemoteError{
			Module: "cinder.exception", Class: "OverQuota", Message: "no: over quota: gigabytes",
			Trace: []string{"cinder.exception.OverQuota: no: over quota: gigabytes\n"}, Args: json.RawMessage(`["gigabytes"]`), Kwargs: json.RawMessage(`{"code":413}`),
		}},
		{"one that came from another server goes on as it is", nested, rpc.RemoteError{
			Module: "builtins", Class: "KeyError", Message: "'x'",
			Trace: []string{"a\n", "b\n"}, Args: json.RawMessage(`["x"]`), Kwargs: json.RawMessage(`{}`),
		}},
		{"a deadline", fmt.Errorf("waiting: %w", context.DeadlineExceeded), rpc.RemoteError{
			Module: "builtins", Class: "TimeoutError", Message: "waiting: context deadline exceeded",
			Trace: []string{"TimeoutError: waiting: context deadline exceeded\n"}, Args: json.RawMessage(`["waiting: context deadline exceeded"]`), Kwargs: json.RawMessage(`{}`),
		}},
		{"a nested call that timed out", messaging.ErrTimeout, rpc.RemoteError{
			Module: "oslo_messaging.exceptions", Class: "MessagingTimeout", Message: "no reply in time: context deadline exceeded",
			Trace: []string{"oslo_messaging.exceptions.MessagingTimeout: no reply in time: context deadline exceeded\n"},
			Args:  json.RawMessage(`["no reply in time: context deadline exceeded"]`), Kwargs: json.RawMessage(`{}`),
		}},
		{"cancellation", context.Canceled, rpc.RemoteError{
			Module: "patchbay", Class: "Canceled", Message: "context canceled",
			Trace: []string{"patchbay.Canceled: context canceled\n"}, Args: json.RawMessage(`["context canceled"]`), Kwargs: json.RawMessage(`{}`),
		}},
		{"arguments that are no JSON", &rpc.RemoteError{Module: "m", Class: "C", Message: "x", Args: json.RawMessage(`{`), Kwargs: json.RawMessage(`[]`)}, rpc.RemoteError{
			Module: "m", Class: "C", Message: "x",
			Trace: []string{"m.C: x\n"}, Args: json.RawMessage(`["x"]`), Kwargs: json.RawMessage(`{}`),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := rpc.DecodeFailure(rpc.EncodeFailure(tt.err))
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreUnexported(rpc.RemoteError{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEncodeFailureIsBounded(t *testing.T) {
	huge := strings.Repeat("ü", 1<<20)
	err := &rpc.RemoteError{
		Module: "m", Class: "C", Message: huge, Args: json.RawMessage(`["` + huge + `"]`),
		Trace: strings.SplitAfter(strings.Repeat("line\n", 10000), "\n"),
	}
	if n := len(rpc.EncodeFailure(err)); n > 256<<10 {
		t.Errorf("the failure has %d bytes", n)
	}
	if e := rpc.DecodeFailure(rpc.EncodeFailure(err)); !strings.HasSuffix(e.Message, "ü [truncated]") {
		t.Errorf("message ends with %q", e.Message[len(e.Message)-20:])
	}
}

// Whatever is long, the failure reaches the caller.
func TestEncodeFailureIsBoundedInEachPart(t *testing.T) {
	huge := strings.Repeat("x", 4<<20)
	trace := []string{"first\n", huge}
	for name, err := range map[string]error{
		"a panic":                 &rpc.PanicError{Value: huge, Trace: []string{"first\n"}},
		"a line of the traceback": &rpc.RemoteError{Module: "m", Class: "C", Message: "x", Trace: trace},
		"all lines":               &rpc.RemoteError{Module: "m", Class: "C", Message: "x", Trace: slices.Repeat([]string{huge[:32<<10]}, 64)},
		"the class":               rpc.NewError("m", huge, "x"),
		"the module":              rpc.NewError(huge, "C", "x"),
	} {
		if n := len(rpc.EncodeFailure(err)); n > 256<<10 {
			t.Errorf("%s: the failure has %d bytes", name, n)
		}
	}
	if len(trace[1]) != len(huge) {
		t.Error("the error itself was changed")
	}
}

func TestEncodeFailureSurvivesItsError(t *testing.T) {
	e := rpc.DecodeFailure(rpc.EncodeFailure(rudeError{}))
	if e.Class != "Panic" || e.Message != "panic: rude" {
		t.Errorf("%+v", e)
	}
}

func TestDecodeFailure(t *testing.T) {
	tests := []struct {
		name, in string
		want     rpc.RemoteError
	}{
		{
			"as Python sends it", `{"class":"ValueError","module":"builtins","message":"boom","tb":["Traceback (most recent call last):\n","ValueError: boom\n"],"args":["boom"],"kwargs":{}}`,
			rpc.RemoteError{Class: "ValueError", Module: "builtins", Message: "boom", Trace: []string{"Traceback (most recent call last):\n", "ValueError: boom\n"}, Args: json.RawMessage(`["boom"]`), Kwargs: json.RawMessage(`{}`)},
		},
		{
			"raised again", `{"class":"CustomError_Remote","module":"interop_errors_Remote","message":"m","tb":[],"args":[],"kwargs":{"code":7}}`,
			rpc.RemoteError{Class: "CustomError", Module: "interop_errors", Message: "m", Args: json.RawMessage(`[]`), Kwargs: json.RawMessage(`{"code":7}`)},
		},
		{"only one has the suffix", `{"class":"X_Remote","module":"m"}`, rpc.RemoteError{Class: "X_Remote", Module: "m"}},
		{"Python 2", `{"class":"ValueError","module":"exceptions","message":"boom"}`, rpc.RemoteError{Class: "ValueError", Module: "builtins", Message: "boom"}},
		{"nulls", `{"class":null,"module":null,"message":null,"tb":null,"args":null,"kwargs":null}`, rpc.RemoteError{Args: json.RawMessage(`null`), Kwargs: json.RawMessage(`null`)}},
		{
			"other types", `{"class":1,"module":{"a":2},"message":["x"],"tb":"one line","args":{}}`,
			rpc.RemoteError{Class: "1", Module: `{"a":2}`, Message: `["x"]`, Trace: []string{"one line"}, Args: json.RawMessage(`{}`)},
		},
		{"Python's tokens", `{"class":"E","module":"m","args":[NaN]}`, rpc.RemoteError{Class: "E", Module: "m", Args: json.RawMessage(`["NaN"]`)}},
		{"no object", `"boom"`, rpc.RemoteError{Class: "Error", Module: "patchbay", Message: "the server sent a failure that cannot be read"}},
		{"no JSON", `boom`, rpc.RemoteError{Class: "Error", Module: "patchbay", Message: "the server sent a failure that cannot be read"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := rpc.DecodeFailure([]byte(tt.in))
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreUnexported(rpc.RemoteError{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRemoteErrorText(t *testing.T) {
	tests := []struct {
		name string
		err  *rpc.RemoteError
		want string
	}{
		{"class and message", rpc.NewError("builtins", "ValueError", "boom"), "ValueError: boom"},
		{"no message", rpc.NewError("builtins", "KeyError", ""), "KeyError"},
		{"no class", rpc.NewError("", "", "boom"), "boom"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRequeueMatches(t *testing.T) {
	if err := rpc.Requeue(context.Canceled); !errors.Is(err, rpc.ErrRequeue) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := rpc.Requeue(nil); !errors.Is(err, rpc.ErrRequeue) {
		t.Error(err)
	}
}

// FuzzDecodeFailure feeds failures as a hostile server may send them: what was
// read can be sent on, and arrives the same.
func FuzzDecodeFailure(f *testing.F) {
	for _, s := range []string{
		`{"class":"ValueError","module":"builtins","message":"boom","tb":["a\n"],"args":["boom"],"kwargs":{}}`,
		`{"class":"A_Remote","module":"b_Remote"}`, `{"tb":[1,null,{}],"args":[NaN]}`, `null`, `[]`, ``, `{"message":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first := rpc.DecodeFailure(data)
		again := rpc.DecodeFailure(rpc.EncodeFailure(first))
		if len(first.Message) < 1000 && first.Message != again.Message {
			t.Fatalf("message %q became %q", first.Message, again.Message)
		}
		once := rpc.DecodeFailure(rpc.EncodeFailure(again))
		if diff := cmp.Diff(again, once, cmpopts.IgnoreUnexported(rpc.RemoteError{})); diff != "" {
			t.Fatalf("a failure that is sent on changes:\n%s", diff)
		}
	})
}
