package brokertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBrokerGivenByURL(t *testing.T) {
	type addresses struct{ URL, AMQP, Management, String string }
	tests := []struct {
		name       string
		give       string
		management string
		want       addresses
	}{
		{
			name: "complete",
			give: "rabbit://me:s%40crt@broker:5673/prod?heartbeat=5",
			want: addresses{
				"rabbit://me:s%40crt@broker:5673/prod?heartbeat=5", "amqp://me:s%40crt@broker:5673/prod?heartbeat=5",
				"http://broker:15672/api", "RabbitMQ x at broker:5673",
			},
		},
		{
			name: "host only, in the client library's form",
			give: "amqp://broker/",
			want: addresses{"rabbit://guest:guest@broker:5672/", "amqp://guest:guest@broker:5672/", "http://broker:15672/api", "RabbitMQ x at broker:5672"},
		},
		{
			name:       "IPv6, TLS, management elsewhere",
			give:       "rabbit+tls://me:pw@[::1]:5671/",
			management: "https://panel/",
			want:       addresses{"rabbit+tls://me:pw@[::1]:5671/", "amqps://me:pw@[::1]:5671/", "https://panel/api", "RabbitMQ x at [::1]:5671"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("PATCHBAY_TEST_RABBITMQ_MANAGEMENT_URL", tt.management)
			b := &Broker{name: "RabbitMQ x"}
			if err := b.at(tt.give); err != nil {
				t.Fatal(err)
			}
			got := addresses{b.URL(), b.AMQPURL(), b.mgmt.base, b.String()}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBrokerGivenByBadURL(t *testing.T) {
	for _, give := range []string{"rabbit://me:hidden@/", "rabbit://me:hidden@bro ker/", "hidden"} {
		err := new(Broker).at(give)
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("at(%q): error %v, want one that does not show the password", give, err)
		}
	}
}

func TestBrokerGivenByURLCannotBeControlled(t *testing.T) {
	b := &Broker{name: "RabbitMQ x"}
	if err := b.at("rabbit://broker/"); err != nil {
		t.Fatal(err)
	}
	_, execErr := b.Exec(t.Context(), "true")
	for name, err := range map[string]error{
		"Exec": execErr, "StopApp": b.StopApp(t.Context()), "StartApp": b.StartApp(t.Context()), "Kill": b.Kill(t.Context()),
		"Stop": b.Stop(t.Context()), "Start": b.Start(t.Context()), "Pause": b.Pause(t.Context()), "Unpause": b.Unpause(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "given by URL") {
			t.Errorf("%s: error %v, want one that says why", name, err)
		}
	}
}

// TestReaper runs the script with a docker command that only writes down what
// it is asked: one container is left of a process that is gone, one is ours.
func TestReaper(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	docker := `#!/bin/sh
case "$*" in
	"ps -a "*) echo "running ` + "$PPID" + `"; echo "orphan 0999999999" ;;
	"ps -aq "*pid=42) echo ours ;;
	*) echo "$*" >>` + log + ` ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(docker), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", reaperScript, "reaper", "host/0", "42")
	cmd.Stdin = strings.NewReader("") // ends at once, as the pipe of a dead process does
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("running the reaper: %v: %s", err, out)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("rm -f -v orphan\nrm -f -v ours\n", string(got)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}
