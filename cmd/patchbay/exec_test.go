package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// TestExec serves programs and calls them, through the command line.
func TestExec(t *testing.T) {
	tests := []struct {
		name    string
		program string
		args    []string // of call
		result  string   // "": it fails
		message string   // in the failure
	}{
		{"arguments are stdin", "cat", []string{"m", "a=1", "b:=[2]"}, `{"a":"1","b":[2]}`, ""},
		{"nothing is null", "cat >/dev/null", []string{"m"}, "null", ""},
		{"white space is null", "echo; echo", []string{"m"}, "null", ""},
		{"it need not read", "echo 1", []string{"m", "a=" + strings.Repeat("x", 1<<20)}, "1", ""},
		{"big integer", "echo 123456789012345678901234567890", []string{"m"}, "123456789012345678901234567890", ""},
		{"NaN of Python", "echo '[NaN]'", []string{"m"}, "[NaN]", ""},
		{"several lines", `printf '{\n"a": 1\n}\n'`, []string{"m"}, `{ "a": 1 }`, ""},
		{"method", `printf '"%s"' "$PATCHBAY_METHOD"`, []string{"resize"}, `"resize"`, ""},
		{"method run", `printf '"%s"' "$PATCHBAY_METHOD"`, []string{"run"}, `"run"`, ""},
		{
			"environment",
			`printf '["%s","%s","%s","%s","%s",%s]' "$PATCHBAY_EVENT" "$PATCHBAY_TOPIC" "$PATCHBAY_SERVER" "$PATCHBAY_NAMESPACE" "$PATCHBAY_VERSION" "$PATCHBAY_CONTEXT"`,
			[]string{"--namespace", "n", "--version", "1.1", "--context", "k=v", "m"},
			`["call","t","s","n","1.1",{"k":"v"}]`, "",
		},
		{"a method is no code", "true", []string{"$(touch $CANARY); `touch $CANARY`"}, "null", ""},
		{"not JSON", "echo hello", []string{"m"}, "", "not JSON"},
		{"two values", "echo 1 2", []string{"m"}, "", "not JSON"},
		{"exit code and reason", "echo no such size >&2; exit 3", []string{"m"}, "", "no such size"},
		{"exit code alone", "exit 3", []string{"m"}, "", "exit status 3"},
		{"exit code beats output", "echo 1; exit 1", []string{"m"}, "", "exit status 1"},
		{"the end of a long reason", "yes x | head -c 1000000 >&2; echo last words >&2; exit 1", []string{"m"}, "", "last words"},
		{"killed", "kill -9 $$", []string{"m"}, "", "killed"},
		{"too much output", "yes", []string{"m"}, "", "more than 16777216 bytes"},
		{"no such command", "no-such-command-here", []string{"m"}, "", "not found"},
		{"private method", "echo 1", []string{"_m"}, "", "_m"},
		{"zero byte in the context", "echo 1", []string{"--context", `k:="\u0000"`, "m"}, "1", ""},
		{"newer version", "echo 1", []string{"--version", "1.7", "m"}, "", "1.7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			canary := filepath.Join(t.TempDir(), "canary")
			t.Setenv("CANARY", canary)
			registry := all.Registry()
			serve(t, registry, "--url", "fake://", "--topic", "t", "--server", "s", "--namespace", "n", "--version", "1.2", "--exec", tt.program)
			got := patchbay(t, registry, append([]string{
				"call", "--url", "fake://", "--topic", "t", "--namespace", "n", "--version", "1.0", "--timeout", "30s",
			}, tt.args...)...)
			if tt.result != "" {
				if want := `{"result":` + tt.result + "}\n"; got.code != 0 || got.stdout != want {
					t.Errorf("exit %d\n got %s want %s stderr %s", got.code, got.stdout, want, got.stderr)
				}
			} else if f := got.failure(t); got.code != 5 || !strings.Contains(f.Message, tt.message) || len(f.Message) > 2*maxStderr {
				t.Errorf("exit %d, %+v; want %q", got.code, f, tt.message)
			}
			if _, err := os.Stat(canary); err == nil {
				t.Error("the shell ran a word from the network")
			}
		})
	}
}

func TestExecAnswersPing(t *testing.T) {
	registry := all.Registry()
	serve(t, registry, "--url", "fake://", "--topic", "t", "--exec", "exit 1")
	if got := patchbay(t, registry, "ping", "--url", "fake://", "--topic", "t"); got.code != 0 || got.stdout != `{"result":"pong"}`+"\n" {
		t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
}

// TestExecKillsTheGroup cancels a program that waits for a child of its own.
// The child keeps a named pipe open, so the pipe's end is the child's.
func TestExecKillsTheGroup(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{command: "(echo started; sleep 1000; true) > '" + pipe + "' & wait"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := p.run(ctx, &rpc.Request{Method: "m", Args: json.RawMessage("{}")})
		ended <- err
	}()
	r, err := os.Open(pipe) // waits for the child
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines := bufio.NewScanner(r)
	if !lines.Scan() || lines.Text() != "started" {
		t.Fatalf("got %q, %v", lines.Text(), lines.Err())
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if lines.Scan() {
		t.Errorf("got %q", lines.Text())
	}
}

// TestExecLeavesNothingWaiting runs a program that ends at once, while a child
// of it keeps the output open.
func TestExecLeavesNothingWaiting(t *testing.T) {
	p := &program{command: "sleep 30 & echo 1"}
	_, err := p.run(t.Context(), &rpc.Request{Method: "m", Args: json.RawMessage("{}")})
	if err == nil || !strings.Contains(err.Error(), "keeps its output open") {
		t.Errorf("got %v", err)
	}
}

func TestExecRefusesZeroBytes(t *testing.T) {
	p := &program{command: "echo 1"}
	ctx := context.WithValue(t.Context(), methodKey{}, "a\x00b")
	if result, err := p.run(ctx, &rpc.Request{Args: json.RawMessage("{}")}); err == nil {
		t.Errorf("got %s", result)
	}
}
