package messaging_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "github.com/patchbay-go/patchbay/messaging"
)

func TestTargetValidate(t *testing.T) {
	long := strings.Repeat("x", MaxName)
	tests := []struct {
		name   string
		target Target
		ok     bool
	}{
		{"topic", Target{Topic: "t"}, true},
		{"all", Target{Exchange: "e", Topic: "t", Server: "s", Namespace: "n", Version: "1.0"}, true},
		{"dots, slashes, unicode", Target{Topic: "a.b/c", Server: "hôst-世界"}, true},
		{"longest topic", Target{Topic: long}, true},
		{"longest together", Target{Topic: long, Server: strings.Repeat("s", MaxServerName-MaxName)}, true},
		{"nothing", Target{}, false},
		{"server alone", Target{Server: "s"}, false},
		{"topic too long", Target{Topic: long + "x"}, false},
		{"exchange too long", Target{Topic: "t", Exchange: long + "x"}, false},
		{"together too long", Target{Topic: long, Server: strings.Repeat("s", MaxServerName-MaxName+1)}, false},
		{"not UTF-8", Target{Topic: "a\xff"}, false},
		{"NUL", Target{Topic: "a\x00b"}, false},
		{"newline", Target{Topic: "t", Server: "a\nb"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.target.Validate()
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want ok=%v", err, tt.ok)
			}
			if err != nil {
				wantIs(t, err, ErrInvalidTarget)
			}
		})
	}
}

func TestTargetAddresses(t *testing.T) {
	target := Target{Exchange: "e", Topic: "t", Server: "s", Namespace: "n", Version: "1.1"}
	want := []Address{
		{Exchange: "e", Topic: "t"},
		{Exchange: "e", Topic: "t", Server: "s"},
		{Exchange: "e", Topic: "t", Fanout: true},
	}
	if d := cmp.Diff(want, target.ListenAddresses()); d != "" {
		t.Error(d)
	}
	if got := target.Address(); got != want[1] {
		t.Errorf("a target with a server is sent to %v", got)
	}
	target.Fanout = true
	if got := target.Address(); got != want[2] {
		t.Errorf("a fanout is sent to %v", got)
	}
}

func TestAddressString(t *testing.T) {
	tests := map[string]Address{
		`topic "t"`:                          {Topic: "t"},
		`topic "t" in exchange "e"`:          {Exchange: "e", Topic: "t"},
		`server "s" of topic "t"`:            {Topic: "t", Server: "s"},
		`fanout of topic "t"`:                {Topic: "t", Fanout: true},
		`notifications "notifications.info"`: {Kind: KindNotify, Topic: "notifications.info"},
		`reply address "reply_1"`:            {Kind: KindReply, Direct: "reply_1"},
	}
	for want, a := range tests {
		if got := a.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
