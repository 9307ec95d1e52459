package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// TestDemoEndpoint calls every method, through the command line on both sides.
func TestDemoEndpoint(t *testing.T) {
	registry := all.Registry()
	server := serve(t, registry, "--url", "fake://", "--topic", "t", "--server", "s1")
	if !strings.Contains(server.stderr.String(), "no other process") {
		t.Errorf("serving on fake:// gave no warning: %s", server.stderr)
	}
	tests := []struct {
		name string
		args []string // of call
		want string   // result
	}{
		{"echo value", []string{"echo", `value:={"b":1,"a":[1.50,null]}`}, `{"b":1,"a":[1.50,null]}`},
		{"echo value among others", []string{"echo", "value=x", "other=y"}, `"x"`},
		{"echo all", []string{"echo", "b=1", "a:=2"}, `{"b":"1","a":2}`},
		{"echo nothing", []string{"echo"}, `{}`},
		{"echo a big integer", []string{"echo", "value:=123456789012345678901234567890"}, "123456789012345678901234567890"},
		{"add", []string{"add", "a:=2", "b:=3"}, "5"},
		{"add big integers", []string{"add", "a:=9007199254740993", "b:=-1"}, "9007199254740992"},
		{"add very big integers", []string{"add", "a:=123456789012345678901234567890", "b:=1"}, "123456789012345678901234567891"},
		{"add fractions", []string{"add", "a:=0.5", "b:=1e2"}, "100.5"},
		{"whoami", []string{"whoami"}, `"s1"`},
		{"record", []string{"record", "any=thing", "n:=1"}, "null"},
		{"none", []string{"none"}, "null"},
		{"ctxt", []string{"--context", "user=ann", "--context", "roles:=[\"a\"]", "ctxt"}, `{"user":"ann","roles":["a"]}`},
		{"sleep", []string{"sleep", "seconds:=0.001"}, "null"},
		{"to the server by name", []string{"--server", "s1", "whoami"}, `"s1"`},
		{"an older minor version", []string{"--version", "1.0", "whoami"}, `"s1"`},
		{"with a monitor", []string{"--monitor", "2s", "whoami"}, `"s1"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := patchbay(t, registry, append([]string{"call", "--url", "fake://", "--topic", "t"}, tt.args...)...)
			if want := `{"result":` + tt.want + "}\n"; got.code != 0 || got.stdout != want || got.stderr != "" {
				t.Errorf("exit %d\n got %s want %s stderr %s", got.code, got.stdout, want, got.stderr)
			}
		})
	}
	if code := server.stop(); code != 0 {
		t.Errorf("serve ended with %d: %s", code, server.stderr)
	}
	lines := server.stdout.lines()
	if first, last := lines[0], lines[len(lines)-1]; first != `{"event":"ready","topic":"t","server":"s1"}` || last != `{"event":"stopped"}` {
		t.Errorf("first line %s, last line %s", first, last)
	}
	if len(lines) != len(tests)+2 {
		t.Errorf("%d lines for %d calls", len(lines), len(tests))
	}
}

func TestRemoteErrors(t *testing.T) {
	registry := all.Registry()
	serve(t, registry, "--url", "fake://", "--topic", "t", "--namespace", "n", "--version", "1.2")
	tests := []struct {
		name          string
		args          []string
		class, module string
		message       string // in it
	}{
		{"fail", []string{"fail", "message=no <such> size"}, "ValueError", "builtins", "no <such> size"},
		{"unknown method", []string{"frobnicate"}, "NoSuchMethod", "oslo_messaging.rpc.dispatcher", "frobnicate"},
		{"private method", []string{"_echo"}, "NoSuchMethod", "oslo_messaging.rpc.dispatcher", "_echo"},
		{"newer version", []string{"--version", "1.3", "echo"}, "UnsupportedVersion", "oslo_messaging.rpc.dispatcher", "1.3"},
		{"other namespace", []string{"--namespace", "m", "echo"}, "UnsupportedVersion", "oslo_messaging.rpc.dispatcher", "echo"},
		{"add text", []string{"add", "a=x", "b:=1"}, "TypeError", "builtins", "two numbers"},
		{"add one", []string{"add", "a:=1"}, "TypeError", "builtins", "two numbers"},
		{"add too much", []string{"add", "a:=1", "b:=1" + strings.Repeat("0", maxDigits)}, "ValueError", "builtins", "digits"},
		{"add out of range", []string{"add", "a:=1.7e308", "b:=1.7e308"}, "ValueError", "builtins", "range"},
		{"add beyond numbers", []string{"add", "a:=1e999", "b:=1"}, "TypeError", "builtins", "two numbers"},
		{"sleep backwards", []string{"sleep", "seconds:=-1"}, "ValueError", "builtins", "86400"},
		{"sleep for ever", []string{"sleep", "seconds:=1e300"}, "ValueError", "builtins", "86400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := patchbay(t, registry, append([]string{"call", "--url", "fake://", "--topic", "t", "--namespace", "n", "--version", "1.1"}, tt.args...)...)
			f := got.failure(t)
			if got.code != 5 || f.Error != "remote" || f.Class != tt.class || f.Module != tt.module || !strings.Contains(f.Message, tt.message) {
				t.Errorf("exit %d, %+v", got.code, f)
			}
			if len(f.Trace) == 0 {
				t.Error("no trace")
			}
		})
	}
}

func TestServeAnnounces(t *testing.T) {
	registry := all.Registry()
	s := serve(t, registry, "--url", "fake://", "--topic", "t", "--server", "s", "--ack", "late", "--workers", "1")
	commands := [][]string{
		{"call", "--context", "user=ann", "add", "a:=1", "b:=2"},
		{"call", "--namespace", "n", "--version", "2.5", "frobnicate", `x:={"y": 1}`},
		{"cast", "record", "x=<y>"},
		{"cast", "--fanout", "--context", "n:=1e400", "record"},
		{"ping"},
	}
	for i, args := range commands {
		args = append([]string{args[0], "--url", "fake://", "--topic", "t"}, args[1:]...)
		if got := patchbay(t, registry, args...); got.code != 0 && got.code != 5 {
			t.Fatalf("%q: exit %d, %s", args, got.code, got.stderr)
		}
		s.stdout.await(t, fmt.Sprintf("line %d", i+1), func(lines []string) bool { return len(lines) == i+2 })
	}
	s.stop()
	want := []string{
		`{"event":"ready","topic":"t","server":"s"}`,
		`{"event":"call","method":"add","args":{"a":1,"b":2},"context":{"user":"ann"},"namespace":null,"version":"1.0"}`,
		`{"event":"call","method":"frobnicate","args":{"x":{"y": 1}},"context":{},"namespace":"n","version":"2.5"}`,
		`{"event":"cast","method":"record","args":{"x":"<y>"},"context":{},"namespace":null,"version":"1.0"}`,
		`{"event":"fanout","method":"record","args":{},"context":{"n":1e400},"namespace":null,"version":"1.0"}`,
		`{"event":"call","method":"oslo_rpc_server_ping","args":{},"context":{},"namespace":null,"version":"1.0"}`,
		`{"event":"stopped"}`,
	}
	if diff := cmp.Diff(want, s.stdout.lines()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCast(t *testing.T) {
	registry := all.Registry()
	servers := []*serving{
		serve(t, registry, "--url", "fake://", "--topic", "t", "--server", "s1"),
		serve(t, registry, "--url", "fake://", "--topic", "t", "--server", "s2"),
	}
	handled := func(s *serving, event string) int {
		return strings.Count(s.stdout.String(), `"event":"`+event+`","method":"record"`)
	}
	got := patchbay(t, registry, "cast", "--url", "fake://", "--topic", "t", "--fanout", "--count", "2", "record")
	if got.code != 0 || got.stdout != `{"accepted":2}`+"\n" {
		t.Fatalf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	for _, s := range servers {
		s.stdout.await(t, "two fanouts", func([]string) bool { return handled(s, "fanout") == 2 })
	}

	got = patchbay(t, registry, "cast", "--url", "fake://", "--topic", "t", "--count", "500", "record")
	if got.code != 0 || got.stdout != `{"accepted":500}`+"\n" {
		t.Fatalf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	servers[0].stop() // what it had fetched ahead goes to the other
	servers[1].stdout.await(t, "all casts", func([]string) bool {
		return handled(servers[0], "cast")+handled(servers[1], "cast") == 500
	})
}

func TestNoRoute(t *testing.T) {
	for _, args := range [][]string{
		{"call", "--server", "absent", "whoami"},
		{"cast", "--server", "absent", "--count", "3", "record"},
		{"call", "whoami"},
		{"cast", "--fanout", "record"},
	} {
		got := patchbay(t, all.Registry(), append([]string{args[0], "--url", "fake://", "--topic", "t", "--mandatory"}, args[1:]...)...)
		if f := got.failure(t); got.code != 4 || f.Error != "no_route" {
			t.Errorf("%q: exit %d, %+v", args, got.code, f)
		}
	}
}

// TestTime needs a clock of its own: it takes minutes.
func TestTime(t *testing.T) {
	flags := []string{"--url", "fake://", "--topic", "t"}
	command := func(name string, args ...string) []string { return append(append([]string{name}, flags...), args...) }

	t.Run("call times out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			registry := all.Registry()
			serve(t, registry, flags...)
			start := time.Now()
			got := patchbay(t, registry, command("call", "--timeout", "90s", "sleep", "seconds:=100")...)
			if f := got.failure(t); got.code != 3 || f.Error != "timeout" || time.Since(start) != 90*time.Second {
				t.Errorf("exit %d after %v, %+v", got.code, time.Since(start), f)
			}
		})
	})
	t.Run("ping of nobody times out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			got := patchbay(t, all.Registry(), command("ping")...)
			if f := got.failure(t); got.code != 3 || f.Error != "timeout" || time.Since(start) != defaultTimeout {
				t.Errorf("exit %d after %v, %+v", got.code, time.Since(start), f)
			}
		})
	})
	t.Run("serve drains", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			registry := all.Registry()
			s := serve(t, registry, flags...)
			called := make(chan result, 1)
			go func() {
				called <- patchbay(t, registry, command("call", "--timeout", "60s", "sleep", "seconds:=20")...)
			}()
			s.stdout.await(t, "the call", func(lines []string) bool { return len(lines) == 2 })
			start := time.Now()
			if code := s.stop(); code != 0 || time.Since(start) != 20*time.Second {
				t.Errorf("serve ended with %d after %v: %s", code, time.Since(start), s.stderr)
			}
			if got := <-called; got.code != 0 || got.stdout != `{"result":null}`+"\n" {
				t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
			}
		})
	})
	t.Run("serve does not drain for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			registry := all.Registry()
			s := serve(t, registry, flags...)
			if got := patchbay(t, registry, command("cast", "sleep", "seconds:=1000")...); got.code != 0 {
				t.Fatal(got.stderr)
			}
			s.stdout.await(t, "the cast", func(lines []string) bool { return len(lines) == 2 })
			start := time.Now()
			if code := s.stop(); code != 1 || time.Since(start) != rpc.DefaultDrainTimeout {
				t.Errorf("serve ended with %d after %v", code, time.Since(start))
			}
			if f := (result{stderr: s.stderr.String()}).failure(t); !strings.Contains(f.Message, "1 request") {
				t.Errorf("got %+v", f)
			}
		})
	})
}

// TestBrokerAway has no broker at first.
func TestBrokerAway(t *testing.T) {
	away := func() (*fake.Broker, messaging.Registry) {
		b := fake.New(nil)
		b.RefuseNew(true)
		return b, messaging.Registry{"fake": b.Open}
	}
	flags := []string{"--url", "fake://", "--topic", "t"}
	waits := func(lines []string) bool {
		return strings.Contains(strings.Join(lines, ""), "waiting for a connection")
	}

	t.Run("serve waits for it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			broker, registry := away()
			s := startServing(t, registry, flags...)
			s.stderr.await(t, "a word about the broker", waits)
			broker.RefuseNew(false)
			s.awaitReady(t)
			if got := patchbay(t, registry, append([]string{"ping"}, flags...)...); got.code != 0 {
				t.Errorf("ping: exit %d, %s", got.code, got.stderr)
			}
		})
	})
	t.Run("serve ends while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, registry := away()
			s := startServing(t, registry, flags...)
			s.stderr.await(t, "a word about the broker", waits)
			if code := s.stop(); code != 0 || s.stdout.String() != `{"event":"stopped"}`+"\n" {
				t.Errorf("exit %d, %s%s", code, s.stdout, s.stderr)
			}
		})
	})
	for _, command := range []string{"call", "cast", "ping", "serve"} {
		t.Run(command+" gives up", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, registry := away()
				args := append([]string{command, "--timeout", "7s"}, flags...)
				if command == "call" || command == "cast" {
					args = append(args, "echo")
				}
				start := time.Now()
				got := patchbay(t, registry, args...)
				if f := got.failure(t); got.code != 6 || f.Error != "connect" || time.Since(start) != 7*time.Second {
					t.Errorf("exit %d after %v, %+v", got.code, time.Since(start), f)
				}
			})
		})
	}
}

func TestEcho(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"value", `{"value":1}`, "1"},
		{"value behind others", `{"a":"value","value" : [1, {"value":2}] }`, `[1, {"value":2}]`},
		{"no value", `{"a":{"value":1}}`, `{"a":{"value":1}}`},
		{"NaN of Python", `{"a":NaN,"value":[NaN,-Infinity,"NaN\\"], "b":Infinity}`, `[NaN,-Infinity,"NaN\\"]`},
		{"NaN alone", `{"value":NaN}`, "NaN"},
		{"escaped name", `{"\u0076alue":1}`, "1"},
		{"no object", `[1]`, `[1]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := echo(json.RawMessage(tt.args)); string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// FuzzDemoEndpoint holds that echo of JSON is JSON, and what its decoder finds,
// and that whatever add is given, a sum is a number.
func FuzzDemoEndpoint(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"value":1}`, `{"value": 1 , "a":2}`, `{"value":NaN}`, `[`, ``, "-0", "1e5", `"\""`, `{"value":"\\","value":3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, args []byte) {
		got := echo(args)
		var named struct{ Value json.RawMessage }
		switch {
		case !json.Valid(args):
		case !json.Valid(got):
			t.Errorf("echo of %q is %q", args, got)
		case json.Unmarshal(args, &named) == nil && named.Value == nil && !bytes.Equal(got, args):
			t.Errorf("echo of %q, which has no value, is %q", args, got)
		}
		sum, err := add(t.Context(), addArgs{A: args, B: json.RawMessage("1")})
		var n json.Number
		if err == nil && json.Unmarshal(sum, &n) != nil {
			t.Errorf("%q + 1 is %q", args, sum)
		}
	})
}
