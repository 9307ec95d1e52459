package interop_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// TestPythonErrorsInGo: what a Go caller finds out of an exception.
func TestPythonErrorsInGo(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	sharedPeer(t).serve(t, url, pyTopic, host, false)
	caller := goClient{open(t, url)}
	tests := []struct {
		name   string
		method string
		args   string
		want   rpc.RemoteError
		trace  string // is in the traceback
		is     error
	}{
		{
			"builtin", "fail", `{"message": "boom"}`,
			rpc.RemoteError{Module: "builtins", Class: "ValueError", Message: "boom", Args: []byte(`["boom"]`), Kwargs: []byte(`{}`)},
			"raise ValueError(message)", nil,
		},
		{
			"class with keyword arguments", "fail_custom", `{"message": "m", "code": 7}`,
			rpc.RemoteError{Module: "interop_errors", Class: "CustomError", Message: "m", Args: []byte(`["m"]`), Kwargs: []byte(`{"hint": "x", "code": 7}`)},
			"raise interop_errors.CustomError", nil,
		},
		{
			"unknown method", "nope", `{}`,
			rpc.RemoteError{Module: "oslo_messaging.rpc.dispatcher", Class: "NoSuchMethod", Message: "Endpoint does not support RPC method nope", Args: []byte(`["Endpoint does not support RPC method nope"]`), Kwargs: []byte(`{}`)},
			"Traceback (most recent call last)", rpc.ErrNoSuchMethod,
		},
		{
			"unknown argument", "nothing", `{"x": 1}`,
			rpc.RemoteError{
				Module: "builtins", Class: "TypeError", Message: "Endpoint.nothing() got an unexpected keyword argument 'x'",
				Args: []byte(`["Endpoint.nothing() got an unexpected keyword argument 'x'"]`), Kwargs: []byte(`{}`),
			},
			"Traceback (most recent call last)", rpc.ErrBadArguments,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := caller.try(t, request{topic: pyTopic, method: tt.method, args: tt.args})
			var got *rpc.RemoteError
			if !errors.As(err, &got) {
				t.Fatalf("error %v, want a RemoteError", err)
			}
			if trace := strings.Join(got.Trace, ""); !strings.Contains(trace, tt.trace) {
				t.Errorf("traceback %q, want one with %q", trace, tt.trace)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v, want one that is %q", err, tt.is)
			}
			text := func(e *rpc.RemoteError) []string {
				return []string{e.Module, e.Class, e.Message, string(e.Args), string(e.Kwargs)}
			}
			if d := cmp.Diff(text(&tt.want), text(got)); d != "" {
				t.Errorf("RemoteError (-want +got):\n%s", d)
			}
		})
	}

	t.Run("class that stands for a Go error", func(t *testing.T) {
		c := rpc.NewClient(caller.transport, messaging.Target{Topic: pyTopic}, &rpc.ClientOptions{
			Errors: rpc.ErrorMap{"interop_errors.CustomError": errPlain}.Lookup,
		})
		err := c.Call(t.Context(), "fail_custom", rpc.Args{"message": "m", "code": 7}, nil)
		if !errors.Is(err, errPlain) {
			t.Errorf("error %v, want one that is %q", err, errPlain)
		}
	})

	t.Run("version", func(t *testing.T) {
		_, err := caller.try(t, request{topic: pyTopic, method: "nothing", version: "9.0"})
		if !errors.Is(err, rpc.ErrUnsupportedVersion) {
			t.Errorf("error %v, want one that is %q", err, rpc.ErrUnsupportedVersion)
		}
	})

	t.Run("ping that is not answered", func(t *testing.T) {
		err := caller.client(request{topic: pyTopic}).Ping(t.Context())
		if !errors.Is(err, rpc.ErrNoSuchMethod) {
			t.Errorf("error %v, want one that is %q", err, rpc.ErrNoSuchMethod)
		}
	})
}

// TestGoErrorsInPython: which exception a Python caller catches.
func TestGoErrorsInPython(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	startService(t, url, goTopic, host)
	caller := pyClient{sharedPeer(t), url}
	tests := []struct {
		name    string
		method  string
		args    string
		exmods  []string
		class   string
		base    string
		message string // is in the exception's text
		kwargs  string
	}{
		{"builtin", "fail", `{"message": "boom"}`, nil, "ValueError", "builtins.ValueError", "boom\n", `{}`},
		{"builtin that formats its text", "fail_expected", `{"key": "k"}`, nil, "KeyError", "builtins.KeyError", "'k'", `{}`},
		{"allowed class", "fail_custom", `{"message": "m", "code": 7}`, []string{"interop_errors"}, "CustomError_Remote", "interop_errors.CustomError", "m\n", `{"hint": "x", "code": 7}`},
		{"class that is not allowed", "fail_custom", `{"message": "m", "code": 7}`, nil, "RemoteError", "oslo_messaging.rpc.client.RemoteError", "Remote error: CustomError m\n", `{}`},
		{"error without a class", "fail_plain", `{}`, nil, "RemoteError", "oslo_messaging.rpc.client.RemoteError", "Remote error: Error disk full\n", `{}`},
		{"unknown method", "nope", `{}`, []string{"oslo_messaging.rpc.dispatcher"}, "NoSuchMethod_Remote", "oslo_messaging.rpc.dispatcher.NoSuchMethod", "RPC method nope", `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := caller.command(t, request{topic: goTopic, method: tt.method, args: tt.args})
			cmd.Exmods = tt.exmods
			got := caller.run(t, cmd).Error
			if got == nil {
				t.Fatal("no exception")
			}
			if got.Class != tt.class || !slices.Contains(got.Bases, tt.base) || !strings.Contains(got.Message, tt.message) {
				t.Errorf("exception %q of bases %q, want a %s, which is a %s, with %q", got, got.Bases, tt.class, tt.base, tt.message)
			}
			if d := cmp.Diff(decode(t, tt.kwargs), decode(t, got.Kwargs)); d != "" {
				t.Errorf("keyword arguments (-want +got):\n%s", d)
			}
		})
	}
}
