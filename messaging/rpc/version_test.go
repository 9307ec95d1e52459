package rpc_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func capped(versionCap, version string) *rpc.Client {
	return rpc.NewClient(nil, messaging.Target{Topic: "t", Version: version}, &rpc.ClientOptions{VersionCap: versionCap})
}

func TestCanSendVersion(t *testing.T) {
	tests := []struct {
		name, cap, own, version string
		want                    bool
	}{
		{"no cap lets everything through", "", "", "9.9", true},
		{"no cap and no version", "", "", "", true},
		{"same", "1.5", "", "1.5", true},
		{"older minor", "1.5", "", "1.4", true},
		{"newer minor", "1.5", "", "1.6", false},
		{"minor is a number, not a text", "1.10", "", "1.9", true},
		{"older major", "2.0", "", "1.0", false},
		{"newer major", "1.5", "", "2.0", false},
		{"revision zero is none", "1.5", "", "1.5.0", true},
		{"newer revision", "1.5", "", "1.5.1", false},
		{"revision of an older minor does not count", "1.5", "", "1.4.9", true},
		{"older revision", "1.5.3", "", "1.5.2", true},
		{"no version at all fails under any cap", "1.5", "", "", false},
		{"the client's own version", "1.5", "1.4", "", true},
		{"the client's own is above", "1.5", "1.6", "", false},
		{"major alone is no version", "1.5", "", "1", false},
		{"four parts", "1.5", "", "1.2.3.4", false},
		{"sign", "1.5", "", "1.-2", false},
		{"huge", "1.5", "", "1.99999999999999999999", false},
		{"invalid cap", "x", "", "1.0", false},
		{"invalid cap and version 0.0", "x", "", "0.0", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := capped(tt.cap, tt.own).CanSendVersion(tt.version); got != tt.want {
				t.Errorf("CanSendVersion(%q) under cap %q = %v, want %v", tt.version, tt.cap, got, tt.want)
			}
		})
	}
}

func TestInvalidVersionIsTyped(t *testing.T) {
	tests := []struct {
		name   string
		client *rpc.Client
	}{
		{"prepared", capped("", "1.0").Prepare(rpc.WithVersion("one"))},
		{"of the target", capped("", "1")},
		{"the cap", capped("1.x", "1.0")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.client.Call(t.Context(), "m", nil, nil)
			var op *messaging.OpError
			if !errors.Is(err, rpc.ErrInvalidVersion) || !errors.As(err, &op) {
				t.Errorf("Call: %v, want an OpError that is ErrInvalidVersion", err)
			}
		})
	}
}

func TestVersionRule(t *testing.T) {
	part := rapid.IntRange(0, 12)
	rapid.Check(t, func(t *rapid.T) {
		impl := [3]int{part.Draw(t, "major"), part.Draw(t, "minor"), part.Draw(t, "revision")}
		req := [3]int{part.Draw(t, "requested major"), part.Draw(t, "requested minor"), part.Draw(t, "requested revision")}
		text := func(v [3]int) string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

		// One number that grows with minor, then revision, is another way to say the rule.
		want := req[0] == impl[0] && req[1]*100+req[2] <= impl[1]*100+impl[2]
		if got := capped(text(impl), "").CanSendVersion(text(req)); got != want {
			t.Fatalf("%s serves %s: %v, want %v", text(impl), text(req), got, want)
		}
		if back := capped(text(req), "").CanSendVersion(text(impl)); want && back && impl != req {
			t.Fatalf("%s and %s serve each other", text(impl), text(req))
		}
	})
}

// FuzzVersion feeds versions as a peer may send them: what is one serves itself
// and everything older, what is none serves nothing.
func FuzzVersion(f *testing.F) {
	for _, s := range []string{"1.0", "1.5.2", "1", "", "1..2", "-1.0", "999999999.0", "1.0\n", "1.1e1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return // no cap
		}
		c := capped(s, "")
		valid := !errors.Is(c.Prepare(rpc.WithVersion(s)).Call(t.Context(), "", nil, nil), rpc.ErrInvalidVersion)
		if got := c.CanSendVersion(s); got != valid {
			t.Fatalf("%q is valid: %v, but serves itself: %v", s, valid, got)
		}
		major, _, _ := strings.Cut(s, ".")
		if got := c.CanSendVersion(major + ".0"); got != valid {
			t.Fatalf("%q is valid: %v, but serves %s.0: %v", s, valid, major, got)
		}
	})
}
