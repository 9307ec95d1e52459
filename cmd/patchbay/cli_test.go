package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/messaging"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// output collects what a command writes, line by line, and lets tests wait for it.
type output struct {
	mu      sync.Mutex
	text    strings.Builder // guarded by mu, like all below
	changed chan struct{}   // closed and replaced by Write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the complete lines so far.
func (o *output) lines() []string {
	lines := strings.Split(o.String(), "\n")
	return lines[:len(lines)-1]
}

// await waits until cond holds for the lines written.
func (o *output) await(t *testing.T, what string, cond func(lines []string) bool) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		o.mu.Lock()
		changed := o.changed
		o.mu.Unlock()
		if cond(o.lines()) {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("waiting for %s; written so far:\n%s", what, o)
		}
	}
}

// result is what a command left behind.
type result struct {
	code           int
	stdout, stderr string
}

// failure decodes the error on stderr.
func (r result) failure(t *testing.T) (f struct {
	Error, Message, Class, Module string
	Trace                         []string
},
) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &f); err != nil {
		t.Fatalf("last line of stderr is not JSON: %v\n%s", err, r.stderr)
	}
	return f
}

// patchbay runs a command in this process.
func patchbay(t *testing.T, registry messaging.Registry, args ...string) result {
	t.Helper()
	stdout, stderr := newOutput(), newOutput()
	code := run(t.Context(), registry, args, strings.NewReader(""), stdout, stderr)
	return result{code, stdout.String(), stderr.String()}
}

// serving is a serve command that runs in this process.
type serving struct {
	stdout, stderr *output
	cancel         context.CancelFunc
	ended          chan struct{}
	code           int // after ended
}

// startServing starts a server. The test's end stops it.
func startServing(t *testing.T, registry messaging.Registry, args ...string) *serving {
	t.Helper()
	return background(t, registry, append([]string{"serve"}, args...)...)
}

// background starts a command that goes on until it is stopped. The test's end stops
// it.
func background(t *testing.T, registry messaging.Registry, args ...string) *serving {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &serving{stdout: newOutput(), stderr: newOutput(), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		s.code = run(ctx, registry, args, strings.NewReader(""), s.stdout, s.stderr)
	}()
	t.Cleanup(func() { s.stop() })
	return s
}

// serve starts a server and returns when it is ready.
func serve(t *testing.T, registry messaging.Registry, args ...string) *serving {
	t.Helper()
	s := startServing(t, registry, args...)
	s.awaitReady(t)
	return s
}

func (s *serving) awaitReady(t *testing.T) {
	t.Helper()
	s.stdout.await(t, "the server to be ready", func(lines []string) bool {
		select {
		case <-s.ended:
			t.Fatalf("serve ended with %d: %s", s.code, s.stderr)
		default:
		}
		return len(lines) > 0 && strings.Contains(lines[0], `"event":"ready"`)
	})
}

// stop ends the server as a signal does and returns its exit code.
func (s *serving) stop() int {
	s.cancel()
	<-s.ended
	return s.code
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string // in the message
	}{
		{"unknown command", []string{"cll"}, "did you mean call"},
		{"unknown command far from all", []string{"frobnicate"}, `unknown command "frobnicate"`},
		{"unknown flag", []string{"call", "--tpic", "t", "m"}, "did you mean --topic?"},
		{"unknown flag far from all", []string{"call", "--frobnicate", "m"}, "patchbay call --help"},
		{"unknown short flag", []string{"call", "-x"}, "'x'"},
		{"no topic", []string{"call", "--url", "fake://", "m"}, `"topic"`},
		{"no URL", []string{"call", "--topic", "t", "m"}, "PATCHBAY_URL"},
		{"no method", []string{"call", "--url", "fake://", "--topic", "t"}, "no METHOD"},
		{"argument for method", []string{"cast", "--url", "fake://", "--topic", "t", "a=b"}, "no METHOD"},
		{"argument without =", []string{"call", "--url", "fake://", "--topic", "t", "m", "a"}, "name:=json"},
		{"argument without a name", []string{"call", "--url", "fake://", "--topic", "t", "m", "=a"}, "no name"},
		{"argument twice", []string{"call", "--url", "fake://", "--topic", "t", "m", "a=1", "a:=2"}, "twice"},
		{"argument not JSON", []string{"call", "--url", "fake://", "--topic", "t", "m", "a:=x"}, "not JSON"},
		{"context not JSON", []string{"call", "--url", "fake://", "--topic", "t", "--context", "a:=x", "m"}, "--context"},
		{"timeout zero", []string{"call", "--url", "fake://", "--topic", "t", "--timeout", "0s", "m"}, "more than zero"},
		{"timeout no duration", []string{"ping", "--url", "fake://", "--topic", "t", "--timeout", "5"}, "such as 5s"},
		{"count zero", []string{"cast", "--url", "fake://", "--topic", "t", "--count", "0", "m"}, "--count"},
		{"fanout to one server", []string{"cast", "--url", "fake://", "--topic", "t", "--fanout", "--server", "s", "m"}, "fanout"},
		{"bad version", []string{"call", "--url", "fake://", "--topic", "t", "--version", "one", "m"}, "version"},
		{"topic too long", []string{"call", "--url", "fake://", "--topic", strings.Repeat("t", 300), "m"}, "300 bytes"},
		{"unknown scheme", []string{"call", "--url", "carrier-pigeon://", "--topic", "t", "m"}, "fake"},
		{"ambiguous scheme", []string{"call", "--url", "amqp://h/", "--topic", "t", "m"}, "rabbit://"},
		{"no scheme", []string{"call", "--url", "host", "--topic", "t", "m"}, "driver://host:port/"},
		{"unknown option", []string{"call", "--url", "fake://?frob=1", "--topic", "t", "m"}, "frob"},
		{"endpoint and exec", []string{"serve", "--url", "fake://", "--topic", "t", "--endpoint", "demo", "--exec", "true"}, "exec"},
		{"unknown endpoint", []string{"serve", "--url", "fake://", "--topic", "t", "--endpoint", "x"}, "want demo"},
		{"unknown ack", []string{"serve", "--url", "fake://", "--topic", "t", "--ack", "never"}, "early or late"},
		{"no workers", []string{"serve", "--url", "fake://", "--topic", "t", "--workers", "0"}, "--workers"},
		{"serving a bad version", []string{"serve", "--url", "fake://", "--topic", "t", "--version", "one"}, "version"},
		{"no URL to show", []string{"url"}, "one URL"},
		{"nothing of the advice hidden", []string{"url", "nourl"}, "driver://host:port/virtual_host, with user:password@ before"},
		{"bad level", []string{"conformance", "--level", "most"}, "must"},
		{"bad regexp", []string{"conformance", "--run", "("}, "--run"},
		{"no such case", []string{"conformance", "--run", "^nothing$"}, "--list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(urlVariable, "")
			got := patchbay(t, all.Registry(), tt.args...)
			f := got.failure(t)
			if got.code != 2 || f.Error != "usage" || !strings.Contains(f.Message, tt.want) {
				t.Errorf("exit %d, error %q, message %q; want 2, usage, %q in it", got.code, f.Error, f.Message, tt.want)
			}
			if strings.Contains(f.Message, "\n") {
				t.Errorf("the message has several lines: %q", f.Message)
			}
			if got.stdout != "" {
				t.Errorf("stdout: %q", got.stdout)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, command := range []string{"demo", "serve", "call", "cast", "ping", "conformance", "url", "version"} {
		t.Run(command, func(t *testing.T) {
			t.Setenv(urlVariable, "rabbit://u:secret@h/")
			got := patchbay(t, nil, command, "--help")
			if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "Examples:\n  patchbay "+command) {
				t.Errorf("exit %d, stderr %q, stdout:\n%s", got.code, got.stderr, got.stdout)
			}
			if strings.Contains(got.stdout, "secret") {
				t.Errorf("the help shows the password:\n%s", got.stdout)
			}
		})
	}
	for _, args := range [][]string{{}, {"--help"}, {"help", "call"}, {"completion", "bash"}, {"--version"}} {
		if got := patchbay(t, nil, args...); got.code != 0 || got.stdout == "" {
			t.Errorf("%q: exit %d, %q", args, got.code, got.stdout)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"ser"}, "serve\t"},
		{[]string{"serve", "--ack", ""}, "early\nlate\n"},
		{[]string{"serve", "--endpoint", ""}, "demo\n"},
		{[]string{"conformance", "--level", ""}, "must\ncap\n"},
	} {
		got := patchbay(t, nil, append([]string{"__complete"}, tt.args...)...)
		if got.code != 0 || !strings.Contains(got.stdout, tt.want) {
			t.Errorf("%q: exit %d, %q; want %q", tt.args, got.code, got.stdout, tt.want)
		}
	}
}

// TestNoPassword gives a URL where it does not belong.
func TestNoPassword(t *testing.T) {
	const url = "rabbit://ann:s3cret@host:1/v"
	for _, args := range [][]string{
		{url},
		{"call", "--topic", "t", "--url", "carrier-pigeon://ann:s3cret@host/", "m"},
		{"call", "--topic", "t", "--url", "rabbit://ann:s3cret@host:port/", "m"},
		{"call", "--topic", "t", "--url", "fake://", url, url},
		{"call", "--topic", "t", "--url", "fake://", "m", "--timeout", url},
		{"conformance", "--level", url},
		{"url", "rabbit://ann:s3cret@host:port/"},
		{"url", url},
	} {
		got := patchbay(t, all.Registry(), args...)
		if strings.Contains(got.stdout+got.stderr, "s3cret") {
			t.Errorf("%q shows the password: %s%s", args, got.stdout, got.stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	got := patchbay(t, nil, "version")
	var b build
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil || got.code != 0 {
		t.Fatalf("exit %d, %v", got.code, err)
	}
	if b.Version == "" || !strings.HasPrefix(b.Go, "go1.") {
		t.Errorf("got %+v", b)
	}
}
