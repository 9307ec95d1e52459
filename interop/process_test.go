package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// The interpreters of the environments that setup makes: with today's
// oslo.messaging, and with the last that speaks AMQP 1.0.
const (
	python      = ".venv/bin/python"
	pythonAMQP1 = ".venv-amqp1/bin/python"
)

// patience bounds what a test waits for: it is far more than anything takes.
const patience = 30 * time.Second

// event is what a peer tells; python/*.py say what is in which.
type event struct {
	Event   string
	Server  string
	Method  string
	Args    string // JSON text, and so are Context and Result
	Context string
	ID      int64
	Result  string
	Error   *pyError
}

// pyError is an exception as a Python caller sees it.
type pyError struct {
	Class, Module, Message string
	Bases                  []string
	RemoteClass            string `json:"remote_class"` // of a RemoteError
	RemoteMessage          string `json:"remote_message"`
	Kwargs                 string
}

func (e *pyError) String() string { return fmt.Sprintf("%s.%s: %s", e.Module, e.Class, e.Message) }

// process is a running peer.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer // to be read after ended
	ended  chan struct{}

	mu     sync.Mutex
	events []event
	more   chan struct{} // closed, and replaced, when an event came
}

// startPython starts a script of python/, which is ready when this returns.
func startPython(t *testing.T, script string, args ...string) *process {
	t.Helper()
	return startPythonWith(t, python, script, args...)
}

func startPythonWith(t *testing.T, python, script string, args ...string) *process {
	t.Helper()
	script = filepath.Join("python", script)
	for _, file := range []string{python, script} {
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("no Python peer to test with, `make python` makes its environment: %v", err)
		}
	}
	return start(t, exec.Command(python, append([]string{"-W", "ignore", script}, args...)...))
}

// start starts a peer, which is ready when this returns. It ends with the
// test, and with the test's process.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, ended: make(chan struct{}), more: make(chan struct{})}
	cmd.Stderr = &p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", cmd, err)
	}
	p.stdin = stdin
	go p.read(stdout)
	t.Cleanup(func() { p.end(t) })
	p.await(t, "ready", func(e event) bool { return e.Event == "ready" })
	return p
}

// read collects events until the process ends.
func (p *process) read(stdout io.Reader) {
	defer close(p.ended)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			e = event{Event: fmt.Sprintf("unreadable line %.200q: %v", line, err)}
		}
		p.mu.Lock()
		p.events = append(p.events, e)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // how it ended does not matter, only what it said before
}

// await returns the first event that satisfies want, and fails the test when
// the process ends, or patience does, before there is one.
func (p *process) await(t *testing.T, what string, want func(event) bool) event {
	t.Helper()
	return p.awaitN(t, 1, what, want)[0]
}

// awaitN returns the events that satisfy want when there are n of them.
func (p *process) awaitN(t *testing.T, n int, what string, want func(event) bool) []event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ended := false; ; {
		found, more := p.matching(want)
		if len(found) >= n {
			return found
		}
		if ended {
			t.Fatalf("the peer ended before it was %s, it said:\n%s", what, p.stderr.Bytes())
		}
		select {
		case <-more:
		case <-p.ended:
			ended = true // one more look
		case <-ctx.Done():
			t.Fatalf("the peer is not %s: there are %d such events, want %d", what, len(found), n)
		}
	}
}

func (p *process) matching(want func(event) bool) (found []event, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if want(e) {
			found = append(found, e)
		}
	}
	return found, p.more
}

// called tells the events of a server's method.
func called(method string) func(event) bool {
	return func(e event) bool { return e.Event == "called" && e.Method == method }
}

// kill ends the process as a crash does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// end lets the process end by itself, and kills it if it does not.
func (p *process) end(t *testing.T) {
	t.Helper()
	_ = p.stdin.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		t.Error("the peer did not end with its input")
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-p.ended
	}
	if t.Failed() && p.stderr.Len() > 0 {
		t.Logf("the peer said:\n%s", p.stderr.Bytes())
	}
	if i := slices.IndexFunc(p.events, func(e event) bool { return len(e.Event) > 20 }); i >= 0 {
		t.Errorf("the peer printed an %s", p.events[i].Event)
	}
}
