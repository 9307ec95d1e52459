package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/internal/freeport"
	"github.com/patchbay-go/patchbay/internal/tlstest"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestConformanceReports(t *testing.T) {
	dir := t.TempDir()
	jsonFile, markdown := filepath.Join(dir, "report.json"), filepath.Join(dir, "report.md")
	got := patchbay(t, all.Registry(), "conformance", "--run", "^(call_reply|cast_one)$", "--json", jsonFile, "--markdown", markdown)
	if got.code != 0 || got.stdout != `{"summary":"must 2/2","failed":0}`+"\n" {
		t.Fatalf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range []string{"pass  must  call_reply", "pass  must  cast_one", "\nmust 2/2\n"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("no %q on stderr:\n%s", want, got.stderr)
		}
	}
	f, err := os.Open(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	report, err := conformance.ReadReport(f)
	if err != nil {
		t.Fatal(err)
	}
	if report.Driver != "fake" || len(report.Cases) != 2 {
		t.Errorf("driver %q, %d cases", report.Driver, len(report.Cases))
	}
	table, err := os.ReadFile(markdown)
	if err != nil || !strings.Contains(string(table), "| call_reply | must | pass |") {
		t.Errorf("%v, %s", err, table)
	}
}

// A report that cannot be written is found out before a run, not after it.
func TestConformanceReportsCannotBeWritten(t *testing.T) {
	for _, flag := range []string{"--json", "--markdown"} {
		got := patchbay(t, all.Registry(), "conformance", "--run", "^call_reply$", flag, filepath.Join(t.TempDir(), "absent", "report"))
		if got.code == 0 || strings.Contains(got.stderr, "call_reply") || !strings.Contains(got.stderr, "absent") {
			t.Errorf("%s: exit %d, %s", flag, got.code, got.stderr)
		}
	}
}

// The in-memory driver has a harness with everything: nothing may be skipped.
func TestConformanceOfFakeSkipsNothing(t *testing.T) {
	got := patchbay(t, all.Registry(), "conformance", "--url", "fake://?wire=oslo", "--run",
		"^(open_auth_failure_is_typed|open_unreachable_respects_deadline|durable_survives_restart|drop_is_kept_aside|stop_during_reconnect|failover_second_host)$")
	if got.code != 0 || got.stdout != `{"summary":"must 2/2 · cap 2/2 · fault 2/2","failed":0}`+"\n" {
		t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
}

// A proxy before the broker breaks links; its console is out of reach.
func TestConformanceOfRabbitBreaksLinks(t *testing.T) {
	got := patchbay(t, all.Registry(), "conformance", "--url", brokertest.RabbitMQ(t, "4.3").VHost(t), "--run",
		"^(cut_idle|failover_second_host|blocked_publisher_respects_ctx|cut_between_write_and_confirm)$")
	if got.code != 0 || got.stdout != `{"summary":"fault 3/3 · 1 skipped","failed":0}`+"\n" {
		t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	if !strings.Contains(got.stderr, "blocked_publisher_respects_ctx (0 ms): the harness has no Fault.Block") {
		t.Errorf("no reason for what was skipped:\n%s", got.stderr)
	}
}

// Nodes without a broker are the program's own, with proxies between them: by free
// ports, or by those that the URL stands for, and with everybody's certificate.
func TestConformanceOfZMQ(t *testing.T) {
	ca := tlstest.New(t)
	files := "ssl_ca_file=" + ca.File + "&ssl_client_ca_file=" + ca.File + "&ssl_cert_file="
	ports, release, err := freeport.Reserve(t.Context(), 16)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	_, first, _ := net.SplitHostPort(ports[0])
	const shown = "^(open_auth_failure_is_typed|open_unreachable_respects_deadline|call_reply|fanout_all_members|garbage_before_handshake|" +
		"oversized_frame_does_not_panic|duplicate_identity|cut_idle|no_secret_in_errors_or_logs)$"
	for url, want := range map[string]string{
		"zmq://": "must 8/8 · fault 1/1",
		"zmq+tls://?" + files + ca.Sign(t, "127.0.0.1"):                                  "must 8/8 · fault 1/1",
		"zmq+tls://localhost:" + first + "/?ports=16&" + files + ca.Sign(t, "localhost"): "must 8/8 · fault 1/1",
		"zmq://127.0.0.1:" + first + "/?ports=16&bind=" + strings.Join(ports, ","):       "must 3/3 · 6 skipped",
		"zmq+ipc://" + filepath.Join(t.TempDir(), "run"):                                 "must 3/3 · 6 skipped",
	} {
		got := patchbay(t, all.Registry(), "conformance", "--url", url, "--run", shown)
		if got.code != 0 || got.stdout != `{"summary":"`+want+`","failed":0}`+"\n" {
			t.Errorf("%s: exit %d, %s%s", url, got.code, got.stdout, got.stderr)
		}
	}
}

func TestWithHeartbeat(t *testing.T) {
	for _, tt := range []struct {
		url, want string
		silence   time.Duration
	}{
		{"rabbit://host/", "rabbit://host/?heartbeat_timeout_threshold=2", 6 * time.Second},
		{"rabbit://host/?a=b", "rabbit://host/?a=b&heartbeat_timeout_threshold=2", 6 * time.Second},
		{"rabbit://host/?heartbeat_timeout_threshold=7", "rabbit://host/?heartbeat_timeout_threshold=7", 0},
		{"amqp1://host/", "amqp1://host/?idle_timeout=2", 2 * time.Second},
	} {
		u, err := messaging.ParseURL(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		if silence, got := withHeartbeat(u, tt.url); got != tt.want || silence != tt.silence {
			t.Errorf("%s becomes %s, noticed after %v", tt.url, got, silence)
		}
	}
}

func TestConformanceFails(t *testing.T) {
	synctest.Test(t, testConformanceFails) // it waits for what never comes
}

func testConformanceFails(t *testing.T) {
	broken := all.Registry()
	broken["mute"] = func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		d, codecs, err := broken["fake"](u, o)
		return mute{d}, codecs, err
	}
	got := patchbay(t, broken, "conformance", "--url", "mute://", "--run", "^(open_ok|cast_no_consumer_mandatory)$")
	if f := got.failure(t); got.code != 1 || f.Error != "error" || f.Message != "1 of 2 cases failed" {
		t.Errorf("exit %d, %+v", got.code, f)
	}
	if !strings.Contains(got.stdout, `"failed":1`) || !strings.Contains(got.stderr, "why it matters") {
		t.Errorf("stdout %s, stderr:\n%s", got.stdout, got.stderr)
	}
}

// mute is a driver that accepts every message and delivers none.
type mute struct{ messaging.Driver }

func (m mute) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	c, err := m.Driver.Dial(ctx, ep)
	return muteConn{c}, err
}

type muteConn struct{ messaging.Conn }

func (muteConn) Send(_ context.Context, _ messaging.Address, _ *messaging.Message, c messaging.Completion) error {
	if c != nil {
		c.Complete(nil)
	}
	return nil
}

func TestConformanceCannotConnect(t *testing.T) {
	registry := messaging.Registry{"down": func(*messaging.URL, *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		_, codecs, err := all.Registry()["fake"](&messaging.URL{Scheme: "fake"}, (*messaging.Options)(nil).WithDefaults())
		return down{}, codecs, err
	}}
	got := patchbay(t, registry, "conformance", "--url", "down://")
	if f := got.failure(t); got.code != 6 || f.Error != "connect" {
		t.Errorf("exit %d, %+v", got.code, f)
	}
}

// down is a driver whose peer never lets anybody in.
type down struct{}

func (down) SingleConn() bool { return false }

func (down) Dial(context.Context, messaging.Endpoint) (messaging.Conn, error) {
	return nil, errors.Join(messaging.ErrConnect, messaging.ErrAuth, messaging.ErrPermanent)
}

func TestConformanceList(t *testing.T) {
	got := patchbay(t, nil, "conformance", "--list", "--level", "cap")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("exit %d, %s", got.code, got.stderr)
	}
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	for _, line := range lines {
		var c struct{ ID, Level, Capability, Rule string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if c.ID == "" || c.Level != "cap" || c.Capability == "" || c.Rule == "" {
			t.Errorf("got %+v", c)
		}
	}
	if len(lines) < 5 {
		t.Errorf("%d capabilities have a case", len(lines))
	}
}
