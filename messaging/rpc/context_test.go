package rpc_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestRequestContext(t *testing.T) {
	ctx := rpc.NewContext(t.Context(), "user", "u1")
	other := rpc.NewContext(ctx, "user", "u2") // replaces, in the derived context only
	ctx = rpc.NewContext(ctx, "n", int64(9007199254740993))
	if diff := cmp.Diff(map[string]any{"user": "u1", "n": json.Number("9007199254740993")}, rpc.Values(ctx)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"user": "u2"}, rpc.Values(other)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	var n int64
	if ok, err := rpc.Value(ctx, "n", &n); !ok || err != nil || n != 9007199254740993 {
		t.Errorf("n: %v, %v, %v", n, ok, err)
	}
	if ok, err := rpc.Value(ctx, "user", &n); !ok || err == nil {
		t.Errorf("user as a number: %v, %v", ok, err)
	}
	if ok, err := rpc.Value(ctx, "absent", &n); ok || err != nil {
		t.Errorf("absent: %v, %v", ok, err)
	}
	if got := rpc.Values(t.Context()); len(got) != 0 {
		t.Errorf("no request context: %v", got)
	}
}

func TestRequestContextThatCannotBeEncoded(t *testing.T) {
	ctx := rpc.NewContext(t.Context(), "c", make(chan int))
	err := rpc.NewClient(nil, messaging.Target{Topic: "t"}, nil).Cast(ctx, "m", nil)
	if !errors.Is(err, rpc.ErrBadArguments) {
		t.Errorf("Cast: %v, want ErrBadArguments", err)
	}
}
