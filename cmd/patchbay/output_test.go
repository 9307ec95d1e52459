package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestClassify(t *testing.T) {
	join := func(errs ...error) error { return fmt.Errorf("calling: %w", errors.Join(errs...)) }
	tests := []struct {
		name string
		err  error
		kind string
		code int
	}{
		{"usage", usagef("no"), "usage", 2},
		{"bad URL", join(messaging.ErrInvalidURL), "usage", 2},
		{"bad target", join(messaging.ErrInvalidTarget), "usage", 2},
		{"timeout", join(messaging.ErrTimeout), "timeout", 3},
		{"deadline", join(messaging.ErrOutcomeUnknown, context.DeadlineExceeded), "timeout", 3},
		{"no route", join(messaging.ErrNoRoute), "no_route", 4},
		{"no route until the deadline", join(messaging.ErrNoRoute, context.DeadlineExceeded), "no_route", 4},
		{"remote", join(rpc.NewError("builtins", "ValueError", "no")), "remote", 5},
		{"cannot connect", join(messaging.ErrConnect), "connect", 6},
		{"cannot connect until the deadline", join(messaging.ErrNotSent, messaging.ErrConnect, context.DeadlineExceeded), "connect", 6},
		{"refused", join(messaging.ErrAuth, messaging.ErrPermanent), "connect", 6},
		{"unsupported", join(messaging.ErrNotSent, messaging.ErrUnsupported), "unsupported", 7},
		{"server lost", join(messaging.ErrServerLost), "server_lost", 1},
		{"outcome unknown", join(messaging.ErrOutcomeUnknown, messaging.ErrConnLost), "outcome_unknown", 1},
		{"rejected", join(messaging.ErrRejected), "rejected", 1},
		{"interrupted", join(context.Canceled), "error", 1},
		{"anything else", errors.New("disk full"), "error", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if kind, code := classify(tt.err); kind != tt.kind || code != tt.code {
				t.Errorf("got %s %d, want %s %d", kind, code, tt.kind, tt.code)
			}
		})
	}
}

func TestPrintError(t *testing.T) {
	remote := rpc.NewError("builtins", "ValueError", "a < b")
	remote.Trace = []string{"Traceback:\n", "ValueError: a < b\n"}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"own", messaging.ErrNoRoute, `{"error":"no_route","message":"no route: nobody listens there"}`},
		{"remote", fmt.Errorf("calling: %w", remote), `{"error":"remote","message":"a < b","class":"ValueError","module":"builtins",` +
			`"trace":["Traceback:\n","ValueError: a < b\n"]}`},
		{"remote without a trace", rpc.NewError("", "E", ""), `{"error":"remote","message":"","class":"E","module":"","trace":[]}`},
		{"password with a blank", errors.New(`unknown command "rabbit://ann:s3 cret@h1/" for "patchbay"`), `{"error":"error","message":"unknown command \"rabbit://ann:***@h1/\" for \"patchbay\""}`},
		{"advice", errors.New("it is driver://host:port/, with user:password@ before"), `{"error":"error","message":"it is driver://host:port/, with user:password@ before"}`},
		{"password", errors.New("dialing rabbit://ann:s3cret@h1,bob:s3cret@h2/: no"), `{"error":"error","message":"dialing rabbit://ann:***@h2/: no"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			printError(&b, tt.err)
			if diff := cmp.Diff(tt.want+"\n", b.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRawJSONStaysAsItIs(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"big integer", "123456789012345678901234567890", "123456789012345678901234567890"},
		{"digits", "1.10e+0500", "1.10e+0500"},
		{"not JSON, but Python's", `[NaN,-Infinity]`, `[NaN,-Infinity]`},
		{"HTML", `"<&>"`, `"<&>"`},
		{"several lines", "{\n  \"a\": 1\r\n}", `{   "a": 1  }`},
		{"not UTF-8", "\"\xff\"", "\"\xff\""},
		{"nothing", "", "null"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			l := &lines{w: &b}
			if err := l.print(field{"result", json.RawMessage(tt.raw)}); err != nil {
				t.Fatal(err)
			}
			if want := `{"result":` + tt.want + "}\n"; b.String() != want {
				t.Errorf("got %q, want %q", b.String(), want)
			}
		})
	}
}

func TestPrintReportsAFullDisk(t *testing.T) {
	l := &lines{w: brokenWriter{}}
	if err := l.print(field{"result", 1}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

var errBroken = errors.New("no space left")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestParsePairs(t *testing.T) {
	got, err := parsePairs("argument", []string{"a=1", "b:=1", "c=", "d==x", "e:={\"x\":[1e400]}", "f g=ü,v", "n:=null"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := object(got...)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":"1","b":1,"c":"","d":"=x","e":{"x":[1e400]},"f g":"ü,v","n":null}`; string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
}
