package interop_test

import (
	"bufio"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startExample runs a command of examples/volume, and returns what it prints after it
// said that it is ready.
func startExample(t *testing.T, url, ready string, args ...string) (lines <-chan string) {
	t.Helper()
	cmd := program(t, "volume", append([]string{"-url", url}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminate(t, cmd) })
	all := make(chan string, 100)
	go func() { // until the program ends
		defer close(all)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			all <- s.Text()
		}
	}()
	if line := nextLine(t, all); line != ready {
		t.Fatalf("it said %q", line)
	}
	return all
}

func nextLine(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line := <-lines:
		return line
	case <-time.After(patience):
		t.Fatal("it says no more")
		return ""
	}
}

func terminate(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	err := cmd.Process.Signal(syscall.SIGTERM)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Errorf("%s: %v", cmd, err)
	}
}

// TestVolumeExample: the volume service of examples/ in the place of one in Python,
// whose clients of two versions and listeners do not notice.
func TestVolumeExample(t *testing.T) {
	t.Parallel()
	const topic = "volume-example"
	url := vhost(t)
	p := sharedPeer(t)
	startExample(t, url, host+" serves volumes", "serve", host)
	watcher := startExample(t, url, "watching", "watch")
	listener := p.hear(t, url, listening{})
	manager := pyClient{p, url}
	cast := func(version, method, args string) {
		t.Helper()
		got := manager.send(t, request{do: "cast", topic: topic, server: host, version: version, method: method, args: args, mandatory: true})
		if got.kind != "ok" {
			t.Fatalf("%s of version %s: %+v", method, version, got)
		}
	}
	cast("1.0", "create_volume", `{"volume_id": "v-1", "size": 10}`)
	cast("2.0", "create_volume", `{"volume": {"id": "v-2", "size": 20, "type": "ssd"}}`)
	var events []string
	for _, h := range listener.await(t, 4) {
		events = append(events, h.publisher+" "+h.eventType+" "+h.payload)
	}
	slices.Sort(events)
	if d := cmp.Diff([]string{
		`volume.host1 volume.create.end {"volume_id": "v-1", "size": 10, "host": "host1"}`,
		`volume.host1 volume.create.end {"volume_id": "v-2", "size": 20, "host": "host1"}`,
		`volume.host1 volume.create.start {"volume_id": "v-1", "size": 10, "host": "host1"}`,
		`volume.host1 volume.create.start {"volume_id": "v-2", "size": 20, "host": "host1"}`,
	}, events); d != "" {
		t.Errorf("notifications (-want +got):\n%s", d)
	}
	var watched []string
	for range 4 {
		watched = append(watched, nextLine(t, watcher))
	}
	slices.Sort(watched)
	if d := cmp.Diff([]string{
		"volume.host1 volume.create.end v-1", "volume.host1 volume.create.end v-2",
		"volume.host1 volume.create.start v-1", "volume.host1 volume.create.start v-2",
	}, watched); d != "" {
		t.Errorf("the watcher heard (-want +got):\n%s", d)
	}
	for _, tt := range []struct {
		version, method, args string
		want                  outcome
	}{
		{"1.0", "get_volume", `{"volume_id": "v-2"}`, ok(`{"id": "v-2", "size": 20, "type": "ssd", "status": "available"}`)},
		{"1.1", "extend_volume", `{"volume_id": "v-1", "size": 15}`, ok(`{"id": "v-1", "size": 15, "status": "available"}`)},
		{"2.0", "get_volume", `{"volume_id": "v-9"}`, failed("VolumeNotFound", "volume v-9 is not on host1")},
		{"2.1", "get_capabilities", `{}`, ok(`{"host": "host1", "types": ["", "ssd"]}`)},
		{"3.0", "get_volume", `{"volume_id": "v-1"}`, outcome{kind: "remote", class: "UnsupportedVersion"}},
	} {
		got := manager.send(t, request{topic: topic, server: host, version: tt.version, method: tt.method, args: tt.args})
		if d := diff(t, tt.want, got); d != "" {
			t.Errorf("%s of version %s (-want +got):\n%s", tt.method, tt.version, d)
		}
	}
	out, err := patchbay(t, "ping", "--url", url, "--topic", topic, "--server", host).Output()
	if err != nil || strings.TrimSpace(string(out)) != `{"result":"pong"}` {
		t.Errorf("ping: %s, %v", out, err)
	}
}
