package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// programs are the commands of this module that tests run, which are built once and
// removed after all tests.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

// program returns a command of this module with arguments.
func program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	programs.once.Do(func() { programs.dir, programs.err = buildPrograms() })
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return exec.Command(filepath.Join(programs.dir, name), args...)
}

func buildPrograms() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "patchbay"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", fmt.Sprintf("-race=%v", withRace), "-o", dir, "../cmd/patchbay", "../examples/volume")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return dir, nil
}

func patchbay(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return program(t, "patchbay", args...)
}

// TestPingCommand: patchbay ping tells whether a Python service lives.
func TestPingCommand(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	p := sharedPeer(t)
	p.serve(t, url, "alive", host, true)
	p.serve(t, url, "mute", host, false) // without rpc_ping_enabled
	for _, tt := range []struct {
		args   []string
		code   int
		prints string
	}{
		{[]string{"--topic", "alive"}, 0, `{"result":"pong"}`},
		{[]string{"--topic", "alive", "--server", host}, 0, `{"result":"pong"}`},
		{[]string{"--topic", "mute"}, 5, `{"error":"remote","message":"Endpoint does not support RPC method oslo_rpc_server_ping`},
		{[]string{"--topic", "alive", "--server", "dead", "--timeout", "500ms"}, 3, `{"error":"timeout"`},
	} {
		cmd := patchbay(t, append([]string{"ping", "--url", url}, tt.args...)...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.HasPrefix(string(out), tt.prints) {
			t.Errorf("ping %s: exit %d, %s; want %d, %s", tt.args, code, out, tt.code, tt.prints)
		}
	}
}

// startCommand starts a command that prints events.
func startCommand(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, patchbay(t, args...))
	p.server = true
	return p
}

// printed returns the numbers in the payloads that a command has printed.
func (p *process) printed(t *testing.T) []int {
	t.Helper()
	found, _ := p.matching(isNotification)
	var ns []int
	for _, e := range found {
		var payload struct{ N int }
		if err := json.Unmarshal(e.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		ns = append(ns, payload.N)
	}
	return ns
}

func isNotification(e event) bool { return e.Event == "notification" }

// TestListenCommand: patchbay listen prints what Python publishes, and nothing is
// lost when it is killed and started again.
func TestListenCommand(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	out := pyPublisher{sharedPeer(t), url}
	args := []string{"listen", "--url", url, "--priority", "info"}
	const n = 100
	publish := func() {
		out.publish(t, publishing{priority: "info", publisher: "volume.host1", event: "volume.create.end", payload: `{"id": "v-1"}`, context: map[string]any{"user_id": "u1"}, count: n})
	}
	first := startCommand(t, args...)
	var background sync.WaitGroup
	background.Go(publish)
	got := first.awaitN(t, 5, "printing", isNotification)[0]
	if got.Priority != "info" || got.EventType != "volume.create.end" || string(got.Payload) != `{"id": "v-1", "n": 0}` {
		t.Errorf("it printed %+v", got)
	}
	first.kill(t) // in the middle
	background.Wait()
	seen := first.printed(t)
	publish() // to nobody
	second := startCommand(t, args...)
	awaitTwice(t, n, seen, func(more int) []int {
		second.awaitN(t, more, "printing", isNotification)
		return second.printed(t)
	})
}

// awaitTwice waits until each number below n came twice, to the listener that was
// killed or to the one after it. What was in hand at that moment may come once more.
func awaitTwice(t *testing.T, n int, first []int, second func(atLeast int) []int) {
	t.Helper()
	for want := 2*n - len(first); ; {
		later := second(want)
		times := make(map[int]int)
		for _, i := range slices.Concat(first, later) {
			times[i]++
		}
		missing := 0
		for i := range n {
			missing += max(0, 2-times[i])
		}
		if missing == 0 {
			return
		}
		want = len(later) + missing
	}
}

// TestPythonListenerKilled: neither is anything lost that Go publishes.
func TestPythonListenerKilled(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	out := goPublisher{open(t, url)}
	const n = 100
	publish := func() { out.publish(t, publishing{priority: "info", event: "e", payload: "{}", count: n}) }
	victim := startPeer(t)
	first := victim.hear(t, url, listening{})
	var background sync.WaitGroup
	background.Go(publish)
	first.await(t, 5)
	victim.kill(t) // in the middle
	background.Wait()
	publish()
	second := sharedPeer(t).hear(t, url, listening{})
	awaitTwice(t, n, numbers(t, first.await(t, 0)), func(more int) []int { return numbers(t, second.await(t, more)) })
}

// TestNotifyCommand: a Python listener gets what patchbay notify publishes.
func TestNotifyCommand(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	a := sharedPeer(t).hear(t, url, listening{})
	for i, format := range []string{"v2", "v1"} {
		cmd := patchbay(t, "notify", "--url", url, "--format", format, "--priority", "error", "--publisher", "volume.host1",
			"--context", "user_id=u1", "--context", "roles:=[1]", "volume.lost", "id=v-1", "size:=9007199254740993")
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "{\"accepted\":1}\n" {
			t.Fatalf("%v: %s", err, out)
		}
		got := a.await(t, i+1)[i]
		got.messageID, got.timestamp = "", ""
		want := heard{
			priority: "error", publisher: "volume.host1", eventType: "volume.lost", size: 1,
			payload: `{"id": "v-1", "size": 9007199254740993}`, context: `{"roles":[1],"user_id":"u1"}`,
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(heard{})); d != "" {
			t.Errorf("format %s (-want +got):\n%s", format, d)
		}
	}
}

// TestTapCommand: patchbay tap shows what is published, and a fanout, and takes
// nothing from the Python peers that they are for.
func TestTapCommand(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	p := sharedPeer(t)
	const n = 20
	a := p.hear(t, url, listening{})
	tap := startTap(t, "--url", url)
	pyPublisher{p, url}.publish(t, publishing{priority: "info", event: "e", payload: "{}", count: n})
	if d := cmp.Diff(upTo(n), numbers(t, a.await(t, n))); d != "" {
		t.Errorf("the listener (-want +got):\n%s", d)
	}
	tap.awaitN(t, n, "tapping", isNotification)
	if d := cmp.Diff(upTo(n), tap.printed(t)); d != "" {
		t.Errorf("the tap (-want +got):\n%s", d)
	}

	server := p.serve(t, url, crewTopic, "py1", false)
	fanouts := startTap(t, "--url", url, "--topic", crewTopic, "--fanout")
	if got := (pyClient{p, url}).send(t, request{do: "fanout", topic: crewTopic, method: "record", args: `{"a": 1}`}); got.kind != "ok" {
		t.Fatal(got)
	}
	p.await(t, "called", server.told("called", "record"))
	if e := fanouts.await(t, "tapping", func(e event) bool { return e.Event == "fanout" }); e.Method != "record" {
		t.Errorf("the tap of the fanout printed %+v", e)
	}
}

// startTap starts patchbay tap, which tells people that it is ready.
func startTap(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, append([]string{"tap", "--json"}, args...)...)
}
