package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// The tests of this file run the program as its users do: real processes and
// a real broker between them.

// programVariable tells the test binary to be the program itself, so that what
// is tested is what was compiled, with -race too.
const programVariable = "PATCHBAY_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is a running patchbay.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan struct{}
}

// start runs the program. It is killed at the test's end at the latest.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(program, args...), stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), programVariable+"=yes")
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState has it
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	})
	return p
}

// wait returns what the process left behind when it ended.
func (p *process) wait() result {
	<-p.ended
	return result{p.cmd.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()}
}

// terminate sends SIGTERM.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// drain ends a server and returns all that it printed.
func (p *process) drain(t *testing.T) []string {
	t.Helper()
	p.terminate(t)
	return p.awaitStopped(t)
}

// awaitStopped returns all that a server printed, when it ended as it should.
func (p *process) awaitStopped(t *testing.T) []string {
	t.Helper()
	lines := p.wait().stdout
	if code := p.cmd.ProcessState.ExitCode(); code != 0 || !strings.HasSuffix(lines, `{"event":"stopped"}`+"\n") {
		t.Errorf("serve: exit %d, %s%s", code, lines, p.stderr)
	}
	return p.stdout.lines()
}

// startServer runs serve and returns when it is ready.
func startServer(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, append([]string{"serve"}, args...)...)
	p.stdout.await(t, "the server to be ready", func(lines []string) bool {
		select {
		case <-p.ended:
			t.Fatalf("serve ended: %s", p.stderr)
		default:
		}
		return len(lines) > 0
	})
	return p
}

// announcement is a line of serve.
type announcement struct {
	Event, Method string
	Args          map[string]json.Number
}

// announcements decodes what a server printed about requests for method.
func announcements(t *testing.T, lines []string, method string) []announcement {
	t.Helper()
	var found []announcement
	for _, line := range lines {
		if !strings.Contains(line, `"method":"`+method+`"`) {
			continue
		}
		var a announcement
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		found = append(found, a)
	}
	return found
}

// startThree runs the servers s1, s2 and s3 of topic t.
func startThree(t *testing.T, url string, args ...string) []*process {
	t.Helper()
	servers := make([]*process, 3)
	for i := range servers {
		servers[i] = startServer(t, append([]string{"--url", url, "--topic", "t", "--server", fmt.Sprintf("s%d", i+1)}, args...)...)
	}
	return servers
}

// newClient returns a client of topic t in this process.
func newClient(t *testing.T, url string) *rpc.Client {
	t.Helper()
	transport, err := all.Registry().Open(t.Context(), url, &messaging.Options{Logger: slog.New(slog.DiscardHandler), BackoffMax: backoffMax})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := transport.Close(ctx); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return rpc.NewClient(transport, messaging.Target{Topic: "t"}, &rpc.ClientOptions{Timeout: patience})
}

func TestCallsSpreadOverProcesses(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	servers := startThree(t, url)
	client := newClient(t, url)

	const calls = 300
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			for n := worker; n < calls; n += 10 {
				if err := client.Call(t.Context(), "record", rpc.Args{"n": n}, nil); err != nil {
					t.Errorf("call %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	handled := map[json.Number]int{}
	for i, s := range servers {
		requests := announcements(t, s.drain(t), "record")
		t.Logf("s%d handled %d", i+1, len(requests))
		if len(requests) == 0 {
			t.Errorf("s%d handled none of %d calls", i+1, calls)
		}
		for _, a := range requests {
			handled[a.Args["n"]]++
		}
	}
	for n := range calls {
		if times := handled[json.Number(fmt.Sprint(n))]; times != 1 {
			t.Errorf("call %d was handled %d times", n, times)
		}
	}
}

func TestNamedServerOfProcesses(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	servers := startThree(t, url)
	for range 5 {
		got := start(t, "call", "--url", url, "--topic", "t", "--timeout", "30s", "--server", "s2", "whoami").wait()
		if got.code != 0 || got.stdout != `{"result":"s2"}`+"\n" || got.stderr != "" {
			t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
		}
	}
	got := start(t, "call", "--url", url, "--topic", "t", "--timeout", "30s", "--server", "absent", "--mandatory", "whoami").wait()
	if f := got.failure(t); got.code != 4 || f.Error != "no_route" {
		t.Errorf("absent server: exit %d, %+v", got.code, f)
	}
	got = start(t, "ping", "--url", url, "--topic", "t", "--timeout", "30s", "--server", "s3").wait()
	if got.code != 0 || got.stdout != `{"result":"pong"}`+"\n" {
		t.Errorf("ping: exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	for i, want := range []int{0, 5, 0} {
		if got := len(announcements(t, servers[i].drain(t), "whoami")); got != want {
			t.Errorf("s%d handled %d calls, want %d", i+1, got, want)
		}
	}
}

func TestFanoutReachesAllProcesses(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	servers := startThree(t, url)
	got := start(t, "cast", "--url", url, "--topic", "t", "--timeout", "30s", "--fanout", "record", "n:=7").wait()
	if got.code != 0 || got.stdout != `{"accepted":1}`+"\n" || got.stderr != "" {
		t.Fatalf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	for i, s := range servers {
		s.stdout.await(t, "the fanout", func(lines []string) bool { return len(announcements(t, lines, "record")) > 0 })
		requests := announcements(t, s.drain(t), "record")
		if len(requests) != 1 || requests[0].Event != "fanout" || requests[0].Args["n"] != "7" {
			t.Errorf("s%d handled %+v", i+1, requests)
		}
	}
}

func TestSIGTERMDrainsAProcess(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	for _, ack := range []string{"early", "late"} {
		t.Run(ack, func(t *testing.T) {
			topic := "drain-" + ack
			server := startServer(t, "--url", url, "--topic", topic, "--workers", "1", "--ack", ack)
			call := start(t, "call", "--url", url, "--topic", topic, "--timeout", "30s", "sleep", "seconds:=1")
			server.stdout.await(t, "the call", func(lines []string) bool { return len(lines) == 2 })
			server.terminate(t)
			if got := call.wait(); got.code != 0 || got.stdout != `{"result":null}`+"\n" {
				t.Errorf("call: exit %d, %s%s", got.code, got.stdout, got.stderr)
			}
			server.awaitStopped(t)
		})
	}
}

func TestExecInAProcess(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	startServer(t, "--url", url, "--topic", "t", "--exec", `test "$PATCHBAY_METHOD" = shout || { echo "no $PATCHBAY_METHOD" >&2; exit 1; }; tr a-z A-Z`)
	got := start(t, "call", "--url", url, "--topic", "t", "--timeout", "30s", "shout", "text=quiet").wait()
	if got.code != 0 || got.stdout != `{"result":{"TEXT":"QUIET"}}`+"\n" {
		t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	got = start(t, "call", "--url", url, "--topic", "t", "--timeout", "30s", "whisper").wait()
	if f := got.failure(t); got.code != 5 || f.Message != "no whisper" || f.Class != "RuntimeError" {
		t.Errorf("exit %d, %+v", got.code, f)
	}
}

func TestProcessesThatCannotConnect(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	tests := []struct {
		name, url string
		kind      string
		code      int
		message   string // in it
	}{
		{"wrong password", strings.Replace(url, "patchbay@", "s3cret@", 1), "connect", 6, "credentials refused"},
		{"no such virtual host", url + "-absent", "connect", 6, "-absent"},
		{"absent broker", "rabbit://guest:s3cret@127.0.0.1:1/", "connect", 6, "127.0.0.1:1"},
		{"unknown scheme", "carrier-pigeon://guest:s3cret@127.0.0.1/", "usage", 2, "rabbit"},
		{"unknown option", url + "?amqp_durable_queue=true", "usage", 2, "amqp_durable_queues"},
		{"bad option", url + "?amqp_durable_queues=perhaps", "usage", 2, "perhaps"},
	}
	commands := [][]string{
		{"call", "--topic", "t", "--timeout", "2s", "echo"},
		{"cast", "--topic", "t", "--timeout", "2s", "echo"},
		{"ping", "--topic", "t", "--timeout", "2s"},
		{"serve", "--topic", "t", "--timeout", "2s"},
		{"conformance", "--run", "^open_ok$"},
	}
	for _, tt := range tests {
		for _, command := range commands {
			t.Run(tt.name+"/"+command[0], func(t *testing.T) {
				t.Parallel()
				got := start(t, append(command, "--url", tt.url)...).wait()
				f := got.failure(t)
				if got.code != tt.code || f.Error != tt.kind || !strings.Contains(f.Message, tt.message) {
					t.Errorf("exit %d, %+v", got.code, f)
				}
				if strings.Contains(got.stdout+got.stderr, "s3cret") {
					t.Errorf("the password is shown: %s%s", got.stdout, got.stderr)
				}
			})
		}
	}
}

// TestDemoOverABroker runs the demo as a newcomer with a broker would.
func TestDemoOverABroker(t *testing.T) {
	got := start(t, "demo", "--url", brokertest.RabbitMQ(t, "4.3").VHost(t)).wait()
	if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "3. Fanout") {
		t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
}
