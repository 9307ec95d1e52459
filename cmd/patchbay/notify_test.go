package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/messaging"
)

// notifies publishes and fails the test if it cannot.
func notifies(t *testing.T, registry messaging.Registry, want string, args ...string) {
	t.Helper()
	got := patchbay(t, registry, append([]string{"notify", "--url", "fake://"}, args...)...)
	if got.code != 0 || got.stdout != want+"\n" || got.stderr != "" {
		t.Fatalf("notify %q: exit %d, %s%s", args, got.code, got.stdout, got.stderr)
	}
}

// ids are what differs from run to run.
var ids = regexp.MustCompile(`"message_id":"[0-9a-f-]{36}","timestamp":"[0-9 :.-]{26}"`)

func masked(lines []string) []string {
	var all []string
	for _, l := range lines {
		all = append(all, ids.ReplaceAllString(l, "…"))
	}
	return all
}

func TestNotifyAndListen(t *testing.T) {
	registry := all.Registry()
	notifies(t, registry, `{"accepted":1}`, "early") // which waits for a listener
	s := background(t, registry, "listen", "--url", "fake://", "--topic", "notifications", "--topic", "other", "--priority", "info", "--priority", "error")
	s.stdout.await(t, "the early one", func(lines []string) bool { return len(lines) == 2 })
	notifies(t, registry, `{"accepted":1}`, "--priority", "error", "--publisher", "volume.host1", "--context", "user_id=ann", "--context", "n:=1",
		"volume.lost", "id=v-42", "size:=9007199254740993")
	s.stdout.await(t, "an error", func(lines []string) bool { return len(lines) == 3 })
	notifies(t, registry, `{"accepted":1}`, "--priority", "debug", "--format", "v1", "unheard")
	notifies(t, registry, `{"accepted":4}`, "--topic", "other", "--topic", "elsewhere", "--count", "2", "--publisher", "p", "twice")
	s.stdout.await(t, "two on another topic", func(lines []string) bool { return len(lines) == 5 })
	s.stop()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const twice = `{"event":"notification","priority":"info","publisher_id":"p","event_type":"twice","payload":{},"metadata":{…},"context":{},"topic":"other","redelivered":false}`
	want := []string{
		`{"event":"ready","topics":["notifications","other"],"priorities":["info","error"]}`,
		`{"event":"notification","priority":"info","publisher_id":"patchbay.` + host + `","event_type":"early","payload":{},"metadata":{…},"context":{},"topic":"notifications","redelivered":false}`,
		`{"event":"notification","priority":"error","publisher_id":"volume.host1","event_type":"volume.lost","payload":{"id":"v-42","size":9007199254740993},"metadata":{…},"context":{"user_id":"ann","n":1},"topic":"notifications","redelivered":false}`,
		twice, twice,
		`{"event":"stopped"}`,
	}
	if d := cmp.Diff(want, masked(s.stdout.lines())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if s.code != 0 {
		t.Errorf("exit %d: %s", s.code, s.stderr)
	}
}

// TestListenCounts: what is beyond the count stays for others.
func TestListenCounts(t *testing.T) {
	registry := all.Registry()
	for _, e := range []string{"a", "b", "c", "d"} {
		notifies(t, registry, `{"accepted":1}`, "--publisher", "p", e)
	}
	for _, events := range [][]string{{"a", "b"}, {"c", "d"}} {
		got := patchbay(t, registry, "listen", "--url", "fake://", "--priority", "info", "--count", "2")
		lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
		if got.code != 0 || len(lines) != 4 {
			t.Fatalf("exit %d:\n%s%s", got.code, got.stdout, got.stderr)
		}
		for i, event := range events {
			if !strings.Contains(lines[i+1], `"event_type":"`+event+`"`) {
				t.Errorf("line %d is %s, want event %s", i+1, lines[i+1], event)
			}
		}
	}
}

// TestListenMistakesFirst: a mistake in the flags is told whether or not there is a broker.
func TestListenMistakesFirst(t *testing.T) {
	for _, mistake := range [][]string{{"--event", "("}, {"--publisher", "*"}, {"--topic", "\x00"}, {"--exchange", "\x00"}} {
		for _, command := range []string{"listen", "tap"} {
			args := append([]string{command, "--url", "rabbit://127.0.0.1:1/", "--timeout", "100ms"}, mistake...)
			if got := patchbay(t, all.Registry(), args...); got.code != 2 {
				t.Errorf("%q: exit %d, %s", args, got.code, got.stderr)
			}
		}
	}
}

// TestListenPriorityTwice: to name a priority twice is to name it.
func TestListenPriorityTwice(t *testing.T) {
	registry := all.Registry()
	notifies(t, registry, `{"accepted":1}`, "e")
	got := patchbay(t, registry, "listen", "--url", "fake://", "--priority", "info", "--priority", "info", "--count", "1")
	if ready := `{"event":"ready","topics":["notifications"],"priorities":["info"]}`; got.code != 0 || !strings.HasPrefix(got.stdout, ready) {
		t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
}

func TestListenFiltersAndPools(t *testing.T) {
	registry := all.Registry()
	s := background(t, registry, "listen", "--url", "fake://", "--pool", "p", "--event", `vol.*\.end`, "--publisher", "host[12]", "--count", "1")
	s.stdout.await(t, "ready", func(lines []string) bool { return len(lines) == 1 })
	for _, args := range [][]string{{"volume.create.start"}, {"--publisher", "host3", "volume.create.end"}, {"--publisher", "host2", "volume.create.end"}} {
		notifies(t, registry, `{"accepted":1}`, args...)
	}
	<-s.ended
	if lines := s.stdout.lines(); len(lines) != 3 || !strings.Contains(lines[1], `"publisher_id":"host2"`) {
		t.Errorf("printed:\n%s", s.stdout)
	}
}

func TestTap(t *testing.T) {
	registry := all.Registry()
	worker := background(t, registry, "listen", "--url", "fake://", "--count", "2")
	watcher := background(t, registry, "tap", "--url", "fake://", "--count", "2")
	compact := background(t, registry, "tap", "--url", "fake://", "--count", "2", "--compact", "--priority", "info")
	lines := background(t, registry, "tap", "--url", "fake://", "--count", "1", "--json", "--priority", "info")
	for _, s := range []*output{worker.stdout, watcher.stderr, compact.stderr, lines.stdout} {
		s.await(t, "ready", func(lines []string) bool { return len(lines) == 1 })
	}
	notifies(t, registry, `{"accepted":1}`, "--publisher", "host1", "--context", "request_id=req-1", "volume.create", `v:={"id":"v-1","s":"a\u0000é"}`)
	for _, s := range []*output{watcher.stdout, compact.stdout} {
		s.await(t, "the first", func(lines []string) bool { return len(lines) > 0 })
	}
	// Words that would act on a terminal are shown instead.
	notifies(t, registry, `{"accepted":1}`, "--publisher", "ho\x1b[2Jst", "evil\x07\u202e", "x=\u009b31m")
	for _, s := range []*serving{worker, watcher, compact, lines} {
		<-s.ended
		if s.code != 0 {
			t.Errorf("exit %d: %s", s.code, s.stderr)
		}
	}
	clock := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} `)
	want := `INFO      volume.create  host1  req-1
    {
        "v": {
            "id": "v-1",
            "s": "a\u0000é"
        }
    }
INFO      evil\a\u202e  ho\x1b[2Jst
    {
        "x": "\u009b31m"
    }
`
	if d := cmp.Diff(want, clock.ReplaceAllString(watcher.stdout.String(), "")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	want = `INFO      volume.create  host1  req-1  {"v": {"id":"v-1","s":"a\u0000é"}}
INFO      evil\a\u202e  ho\x1b[2Jst  {"x": "\u009b31m"}
`
	got := strings.ReplaceAll(strings.ReplaceAll(clock.ReplaceAllString(compact.stdout.String(), ""), `{"v":{`, `{"v": {`), `{"x":"`, `{"x": "`)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("compact (-want +got):\n%s", d)
	}
	if all := lines.stdout.lines(); len(all) != 3 || !strings.HasPrefix(all[1], `{"event":"notification","priority":"info","publisher_id":"host1"`) {
		t.Errorf("lines of JSON:\n%s", lines.stdout)
	}
	if n := len(worker.stdout.lines()); n != 4 {
		t.Errorf("the listener printed %d lines, want all of its notifications:\n%s", n, worker.stdout)
	}
}

func TestTapFanout(t *testing.T) {
	registry := all.Registry()
	server := serve(t, registry, "--url", "fake://", "--topic", "compute", "--server", "s")
	watcher := background(t, registry, "tap", "--url", "fake://", "--topic", "volume", "--topic", "compute", "--fanout", "--count", "1")
	lines := background(t, registry, "tap", "--url", "fake://", "--topic", "compute", "--fanout", "--count", "1", "--json")
	watcher.stderr.await(t, "ready", func(lines []string) bool { return len(lines) == 1 })
	lines.stdout.await(t, "ready", func(lines []string) bool { return len(lines) == 1 })
	got := patchbay(t, registry, "cast", "--url", "fake://", "--topic", "compute", "--fanout", "--version", "1.2", "--namespace", "n", "--context", "request_id=r", "refresh", "all:=true")
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	<-watcher.ended
	<-lines.ended
	want := "FANOUT    n.refresh  version 1.2  compute  r\n    {\n        \"all\": true\n    }\n"
	if out := watcher.stdout.String(); len(out) < 13 || out[13:] != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	wantLine := `{"event":"fanout","method":"refresh","args":{"all":true},"context":{"request_id":"r"},"namespace":"n","version":"1.2","topic":"compute"}`
	if all := lines.stdout.lines(); len(all) != 3 || all[1] != wantLine {
		t.Errorf("printed %q, want %s", all, wantLine)
	}
	server.stdout.await(t, "the fanout at the server", func(lines []string) bool { return len(lines) == 2 })
}

func TestNotifyUsage(t *testing.T) {
	for _, args := range [][]string{
		{"notify", "--url", "fake://"},
		{"notify", "--url", "fake://", "x=1"},
		{"notify", "--url", "fake://", "--priority", "loud", "e"},
		{"notify", "--url", "fake://", "--count", "0", "e"},
		{"notify", "--url", "fake://", "--format", "v3", "e"},
		{"notify", "--url", "fake://", "--config", "x", "e"},
		{"notify", "--config", "/nowhere.conf", "e"},
		{"listen", "--url", "fake://", "--priority", "loud"},
		{"listen", "--url", "fake://", "--count", "-1"},
		{"listen", "--url", "fake://", "--event", "("},
		{"listen", "--url", "fake://", "--topic", "\x00"},
		{"listen"},
		{"tap", "--url", "fake://", "--fanout"},
		{"tap", "--url", "fake://", "--fanout", "--topic", "t", "--priority", "info"},
		{"tap", "--url", "fake://", "--fanout", "--topic", "\x00"},
		{"url"},
		{"url", "fake://", "--config", "x"},
	} {
		if got := patchbay(t, all.Registry(), args...); got.code != 2 {
			t.Errorf("%q: exit %d, %s", args, got.code, got.stderr)
		}
	}
}

// TestConfig: an oslo.config file in the place of a URL.
func TestConfig(t *testing.T) {
	registry := all.Registry()
	file := filepath.Join(t.TempDir(), "cinder.conf")
	text := "[DEFAULT]\ntransport_url = fake://\nrpc_response_timeout = 1\n" +
		"[oslo_messaging_notifications]\ntopics = versioned\n[oslo_messaging_rabbit]\nheartbeat_rate = 3\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, registry, "--config", file, "--topic", "t", "--server", "s")
	got := patchbay(t, registry, "call", "--config", file, "--topic", "t", "whoami")
	warning := `{"warning":"` + file + `:7: [oslo_messaging_rabbit] heartbeat_rate has no effect: heartbeats are sent twice within heartbeat_timeout_threshold"}` + "\n"
	if got.code != 0 || got.stdout != `{"result":"s"}`+"\n" || got.stderr != warning {
		t.Errorf("call: exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	if got := patchbay(t, registry, "call", "--config", file, "--topic", "t", "sleep", "seconds:=60"); got.code != 3 {
		t.Errorf("a call beyond rpc_response_timeout: exit %d, %s", got.code, got.stderr)
	}
	if got := patchbay(t, registry, "ping", "--config", file, "--topic", "t"); got.code != 0 {
		t.Errorf("ping: exit %d, %s", got.code, got.stderr)
	}
	listener := background(t, registry, "listen", "--config", file, "--count", "1")
	listener.stdout.await(t, "ready", func(lines []string) bool { return len(lines) == 1 })
	if got := patchbay(t, registry, "notify", "--config", file, "e"); got.code != 0 {
		t.Errorf("notify: exit %d, %s", got.code, got.stderr)
	}
	<-listener.ended
	if lines := listener.stdout.lines(); len(lines) != 3 || !strings.Contains(lines[1], `"topic":"versioned"`) {
		t.Errorf("listen printed %q", lines)
	}
	got = patchbay(t, registry, "url", "--config", file)
	var u struct{ Transport string }
	if err := json.Unmarshal([]byte(got.stdout), &u); err != nil || u.Transport != "fake" {
		t.Errorf("url: exit %d, %s", got.code, got.stdout)
	}
	s.stop()
}

// TestNotifyCounts: what is asked for costs memory only when it is sent, and is said in
// its own words when it fails.
func TestNotifyCounts(t *testing.T) {
	registry := all.Registry()
	for _, c := range []struct {
		url, count, kind, says string
		code                   int
	}{
		{"fake://?nonsense=1", "1", "usage", "nonsense", 2},
		{"rabbit://127.0.0.1:1", "1000000000000", "connect", " notifications failed; the first: ", 6},
		{"fake://", "9223372036854775807", "usage", "--count", 2},
	} {
		got := patchbay(t, registry, "notify", "--url", c.url, "--topic", "a", "--topic", "b", "--timeout", "250ms", "--count", c.count, "e")
		if got.code != c.code || !strings.Contains(got.stderr, `"error":"`+c.kind) || !strings.Contains(got.stderr, c.says) {
			t.Errorf("%s, count %s: exit %d: %s", c.url, c.count, got.code, got.stderr)
		}
	}
}
