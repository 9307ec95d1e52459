package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Bounds of what a program may say, in bytes.
const (
	maxStdout = 16 << 20 // more is an error: half a result is none
	maxStderr = 8 << 10  // of more, the end is kept: there the reason is
)

// outputGrace is how long a program that has ended may leave its output open
// in a process it started.
const outputGrace = time.Second

// program is an endpoint whose every method is a run of a shell command.
type program struct {
	command string
	target  messaging.Target
}

// methodKey is the context key of the method that the caller named.
type methodKey struct{}

// runMethod is the one method of a program's endpoint. No caller reaches it by
// this name: anyMethod has changed the name by then.
const runMethod = "run"

func (p *program) endpoint() *rpc.Endpoint {
	ep := &rpc.Endpoint{Namespace: p.target.Namespace, Version: p.target.Version}
	rpc.HandleRaw(ep, runMethod, p.run)
	return ep
}

// anyMethod is middleware that sends every method to the one there is, and so
// leaves namespace and version to the dispatcher. Names that are not public
// stay as they are: the dispatcher refuses them.
func (p *program) anyMethod(next rpc.Invoker) rpc.Invoker {
	return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
		if r.Method != rpc.PingMethod && rpc.DefaultAccess(nil, r.Method) {
			ctx = context.WithValue(ctx, methodKey{}, r.Method)
			r.Method = runMethod
		}
		return next(ctx, r)
	}
}

// run answers one request. When ctx ends, the program and what it started are
// killed.
func (p *program) run(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
	env, err := p.environment(ctx, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stdout := &limited{limit: maxStdout, full: cancel}
	stderr := &tail{limit: maxStderr}
	cmd := exec.CommandContext(ctx, "sh", "-c", p.command) //nolint:gosec // the operator's own command, without a word from the network
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = bytes.NewReader(r.Args)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = outputGrace
	killGroup(cmd)

	err = cmd.Run()
	switch {
	case stdout.over:
		return nil, runtimeError(fmt.Sprintf("the program wrote more than %d bytes", maxStdout))
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, failure(err, stderr.String())
	}
	result := json.RawMessage(bytes.TrimSpace(stdout.kept.Bytes()))
	var lenient rpc.JSON // also takes the NaN that Python prints
	if _, err := lenient.Marshal(result); err != nil {
		return nil, runtimeError("the program's output is not JSON")
	}
	return result, nil
}

// environment tells the program about the request. The values come from the
// network: they are the values of variables and never part of a command.
func (p *program) environment(ctx context.Context, r *rpc.Request) ([]string, error) {
	values, err := contextObject(r.Context)
	if err != nil {
		return nil, err
	}
	method, _ := ctx.Value(methodKey{}).(string)
	return []string{
		"PATCHBAY_EVENT=" + r.Pattern.String(),
		"PATCHBAY_METHOD=" + method,
		"PATCHBAY_NAMESPACE=" + r.Namespace,
		"PATCHBAY_VERSION=" + r.Version,
		"PATCHBAY_CONTEXT=" + string(values),
		"PATCHBAY_TOPIC=" + p.target.Topic,
		"PATCHBAY_SERVER=" + p.target.Server,
	}, nil
}

// failure is the remote error for a program that did not end well: what it
// said, else how it ended.
func failure(err error, stderr string) error {
	if errors.Is(err, exec.ErrWaitDelay) {
		return runtimeError("the program ended, but a process it started keeps its output open: redirect that")
	}
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return runtimeError("running the program: " + err.Error())
	}
	if message := strings.TrimSpace(stderr); message != "" {
		return runtimeError(message)
	}
	return runtimeError("the program ended with " + err.Error())
}

func runtimeError(message string) error { return rpc.NewError("builtins", "RuntimeError", message) }

// limited keeps what is written up to a limit, and calls full beyond it.
type limited struct {
	kept  bytes.Buffer
	limit int
	full  func()
	over  bool
}

// Write appends p, or fails.
func (l *limited) Write(p []byte) (int, error) {
	if l.kept.Len()+len(p) > l.limit {
		l.over = true
		l.full()
		return 0, errors.New("too much output")
	}
	return l.kept.Write(p)
}

// tail keeps the end of what is written.
type tail struct {
	kept  []byte
	limit int
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// String returns the end as valid UTF-8.
func (t *tail) String() string { return strings.ToValidUTF8(string(t.kept), "\uFFFD") }
