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
	"syscall"
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
const patience = 60 * time.Second

// event is what a peer tells, which python/peer.py says, or what the command patchbay
// prints, in docs/cli.md.
type event struct {
	Event  string
	Name   string // of the server or listener that it comes from
	Server string
	Method string
	Args   text

	Context text
	ID      int64
	Result  string
	Error   *pyError

	Priority  string
	Publisher string
	EventType string `json:"event_type"`
	MessageID string `json:"message_id"`
	Timestamp string
	Requeued  bool
	Size      int

	Payload json.RawMessage // that the command prints
}

// text is JSON text, which Python peers send in a string and the command as it is.
type text string

// UnmarshalJSON takes either.
func (x *text) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, (*string)(x))
	}
	*x = text(data)
	return nil
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
	server bool // it ends by SIGTERM, not with its input

	mu     sync.Mutex
	events []event
	more   chan struct{} // closed, and replaced, when an event came
}

// pythonCommand returns the command that starts a Python peer.
func pythonCommand(python string, args ...string) (*exec.Cmd, error) {
	script := filepath.Join("python", "peer.py")
	for _, file := range []string{python, script} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("no Python peer to test with, `make python` makes its environment: %w", err)
		}
	}
	cmd := exec.Command(python, append([]string{"-W", "ignore", script}, args...)...)
	locks, err := os.MkdirTemp("", "oslo-locks") // of the queue manager
	cmd.Env = append(os.Environ(), "OSLO_LOCK_PATH="+locks)
	return cmd, err
}

// start starts a peer, which ends with the test.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p, err := launch(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
		if t.Failed() && p.stderr.Len() > 0 {
			t.Logf("the peer said:\n%s", p.stderr.Bytes())
		}
	})
	p.await(t, "ready", func(e event) bool { return e.Event == "ready" })
	return p
}

// launch starts a peer, which ends with this process at the latest.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{}), more: make(chan struct{})}
	cmd.Stderr = &p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd, err)
	}
	p.stdin = stdin
	go p.read(stdout)
	return p, nil
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
	return p.awaitFor(t, n, patience, what, want)
}

// awaitFor is awaitN with another patience.
func (p *process) awaitFor(t *testing.T, n int, patience time.Duration, what string, want func(event) bool) []event {
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

// kill ends the process as a crash does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// end lets the process end by itself, and kills it if it does not.
func (p *process) end() error {
	_ = p.stdin.Close()
	if p.server {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // unless it has ended
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-p.ended:
	case <-timer.C:
		err = errors.New("the peer does not end")
		if e := p.cmd.Process.Kill(); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = errors.Join(err, e)
		}
		<-p.ended
	}
	if i := slices.IndexFunc(p.events, func(e event) bool { return len(e.Event) > 20 }); i >= 0 {
		err = errors.Join(err, fmt.Errorf("the peer printed an %s", p.events[i].Event))
	}
	return err
}
