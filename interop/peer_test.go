package interop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// peer is a Python process that is client, server, notifier and listener, of any
// number of brokers. It is safe for concurrent use.
type peer struct {
	*process
	lastID atomic.Int64
	names  atomic.Int64
}

// sharing is a peer of many tests: starting one costs a second.
type sharing struct {
	once sync.Once
	peer *peer
	err  error
}

// shared is the peer of all tests but those that kill theirs.
var shared sharing

// How long the end of a server waits for callers that left before their replies came.
const missingConsumer = "oslo_messaging_rabbit.kombu_missing_consumer_retry_timeout=2"

func sharedPeer(t *testing.T) *peer {
	t.Helper()
	return shared.get(t, python, "--conf", missingConsumer)
}

func (s *sharing) get(t *testing.T, python string, args ...string) *peer {
	t.Helper()
	s.once.Do(func() {
		cmd, err := pythonCommand(python, args...)
		if err != nil {
			s.err = err
			return
		}
		p, err := launch(cmd)
		s.peer, s.err = &peer{process: p}, err
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	s.peer.await(t, "ready", func(e event) bool { return e.Event == "ready" })
	return s.peer
}

// end ends it, after all tests.
func (s *sharing) end() error {
	if s.peer == nil {
		return nil
	}
	if err := s.peer.end(); err != nil {
		return errors.Join(err, errors.New(s.peer.stderr.String()))
	}
	return nil
}

// startPeer starts a peer of the test's own.
func startPeer(t *testing.T, args ...string) *peer {
	t.Helper()
	cmd, err := pythonCommand(python, append([]string{"--conf", missingConsumer}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return &peer{process: start(t, cmd)}
}

// command is what peer.py reads.
type command struct {
	ID  int64  `json:"id"`
	Do  string `json:"do"`
	URL string `json:"url"`

	Topic     string   `json:"topic,omitempty"`
	Server    string   `json:"server,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
	Version   string   `json:"version,omitempty"`
	Method    string   `json:"method,omitempty"`
	Args      string   `json:"args,omitempty"`
	Context   string   `json:"context,omitempty"`
	Timeout   float64  `json:"timeout,omitempty"`
	Monitor   int      `json:"monitor,omitempty"`
	Cap       string   `json:"cap,omitempty"`
	Mandatory bool     `json:"mandatory,omitempty"`
	Exmods    []string `json:"exmods"`
	Count     int      `json:"count,omitempty"`
	InFlight  int      `json:"inflight,omitempty"`

	Name string `json:"name,omitempty"`
	Ping bool   `json:"ping,omitempty"`

	Topics       []string `json:"topics,omitempty"`
	Publisher    string   `json:"publisher,omitempty"`
	Priority     string   `json:"priority,omitempty"`
	Event        string   `json:"event,omitempty"`
	Payload      string   `json:"payload,omitempty"`
	V1           bool     `json:"v1,omitempty"`
	Priorities   []string `json:"priorities,omitempty"`
	Pool         string   `json:"pool,omitempty"`
	AllowRequeue bool     `json:"allow_requeue,omitempty"`
	Requeue      bool     `json:"requeue,omitempty"`
	BatchSize    int      `json:"batch_size,omitempty"`
	BatchTimeout float64  `json:"batch_timeout,omitempty"`

	Files []string `json:"files,omitempty"`
}

// start gives the peer a command and returns the command's id.
func (p *peer) start(t *testing.T, c command) int64 {
	t.Helper()
	c.ID = p.lastID.Add(1)
	if c.Exmods == nil {
		c.Exmods = []string{}
	}
	line, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		t.Fatalf("giving the Python peer a command: %v", err)
	}
	return c.ID
}

// finish returns the event that tells how a command went.
func (p *peer) finish(t *testing.T, id int64) event {
	t.Helper()
	return p.await(t, fmt.Sprintf("done with command %d", id), func(e event) bool { return e.Event == "done" && e.ID == id })
}

// run has a command done and returns the event that tells how it went.
func (p *peer) run(t *testing.T, c command) event {
	t.Helper()
	return p.finish(t, p.start(t, c))
}

// must is run for what has to succeed; it returns the result, JSON text.
func (p *peer) must(t *testing.T, c command) string {
	t.Helper()
	e := p.run(t, c)
	if e.Error != nil {
		t.Fatalf("%s in Python: %s", c.Do, e.Error)
	}
	return e.Result
}

// uniqueName returns a name that no other server or listener of the peer has.
func (p *peer) uniqueName() string { return fmt.Sprint("n", p.names.Add(1)) }

// pyServer is a server or a listener in a Python process.
type pyServer struct {
	peer *peer
	name string
}

// serve starts an RPC server, which serves until the test ends.
func (p *peer) serve(t *testing.T, url, topic, server string, ping bool) *pyServer {
	t.Helper()
	s := &pyServer{p, p.uniqueName()}
	p.must(t, command{Do: "serve", URL: url, Topic: topic, Server: server, Ping: ping, Name: s.name})
	t.Cleanup(func() { s.stop(t) })
	return s
}

// listen starts a listener, as c says, which listens until the test ends.
func (p *peer) listen(t *testing.T, c command) *pyServer {
	t.Helper()
	s := &pyServer{p, p.uniqueName()}
	c.Do, c.Name = "listen", s.name
	p.must(t, c)
	t.Cleanup(func() { s.stop(t) })
	return s
}

// stop drains it. When its process was killed there is nothing to do.
func (s *pyServer) stop(t *testing.T) {
	t.Helper()
	select {
	case <-s.peer.ended:
		return
	default:
	}
	if s.name != "" {
		s.peer.mustEnd(t, command{Do: "stop", Name: s.name})
		s.name = ""
	}
}

// mustEnd is must when the test's own ctx may be over.
func (p *peer) mustEnd(t *testing.T, c command) {
	t.Helper()
	id := p.start(t, c)
	done := func(e event) bool { return e.Event == "done" && e.ID == id }
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		found, more := p.matching(done)
		if len(found) > 0 {
			if found[0].Error != nil {
				t.Errorf("%s in Python: %s", c.Do, found[0].Error)
			}
			return
		}
		select {
		case <-more:
		case <-p.ended:
			return
		case <-timer.C:
			t.Errorf("%s in Python is not done", c.Do)
			return
		}
	}
}

// told tells the events of this server, of a kind and, unless it is empty, a method.
func (s *pyServer) told(kind, method string) func(event) bool {
	return func(e event) bool {
		return e.Event == kind && e.Name == s.name && (method == "" || e.Method == method)
	}
}

// outcome tells what the exception of a command stands for.
func (e event) outcome() outcome {
	if e.Error == nil {
		return outcome{kind: "ok", result: e.Result}
	}
	switch text, _, _ := strings.Cut(e.Error.Message, "\n"); {
	case e.Error.Class == "RemoteError":
		return outcome{kind: "remote", class: e.Error.RemoteClass, message: e.Error.RemoteMessage}
	case e.Error.Module == "builtins":
		return outcome{kind: "remote", class: e.Error.Class, message: text}
	case e.Error.Class == "MessagingTimeout":
		return outcome{kind: timedOut}
	case e.Error.Class == "MessageUndeliverable":
		return outcome{kind: noRoute}
	case e.Error.Class == "RPCVersionCapError":
		return outcome{kind: cappedOut}
	}
	return outcome{kind: e.Error.String()}
}
