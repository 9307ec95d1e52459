package bench_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/bench"
)

// serverVariable makes the test binary the server process of a test.
const serverVariable = "PATCHBAY_BENCH_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		if err := bench.ServeProcess(context.Background(), sockets(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func sockets() map[string]bench.System {
	return map[string]bench.System{"lines": socket{}, "broken": socket{broken: true}, "fragile": socket{fragile: true}}
}

// socket is a System over a Unix socket, at the path that is the URL's user.
type socket struct {
	broken  bool // its server cannot be started
	fragile bool // its server process dies of the first message
}

func (socket) InMemory(*bench.Spec) bool { return false }

func (y socket) Serve(_ context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	if y.broken {
		return nil, errors.New("no spark")
	}
	l, err := net.Listen("unix", s.URL)
	if err != nil {
		return nil, err
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		lines := bufio.NewReader(c)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if y.fragile {
				os.Exit(3)
			}
			t.Add()
			_, _ = c.Write([]byte(line))
		}
	}()
	return bench.CloserFunc(func(context.Context) error { return l.Close() }), nil
}

func (socket) Dial(_ context.Context, s *bench.Spec) (bench.Client, error) {
	c, err := net.Dial("unix", s.URL)
	if err != nil {
		return nil, err
	}
	return &socketClient{c, bufio.NewReader(c)}, nil
}

type socketClient struct {
	net.Conn
	lines *bufio.Reader
}

func (c *socketClient) Do(context.Context) error {
	_, err := c.Write([]byte("hello\n"))
	if err == nil {
		_, err = c.lines.ReadString('\n')
	}
	return err
}

func (c *socketClient) Close(context.Context) error { return c.Conn.Close() }

// started returns a Runner, and the server processes that it has started.
func started(t *testing.T) (*bench.Runner, *[]*exec.Cmd) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all []*exec.Cmd
	return &bench.Runner{Systems: sockets(), Process: func(ctx context.Context) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, program)
		cmd.Env = append(os.Environ(), serverVariable+"=yes")
		all = append(all, cmd)
		return cmd, nil
	}}, &all
}

// ended fails the test unless there was one server process and it has ended.
func ended(t *testing.T, all []*exec.Cmd) *exec.Cmd {
	t.Helper()
	if len(all) != 1 || all[0].ProcessState == nil {
		t.Fatalf("want one process that has ended: %v", all)
	}
	return all[0]
}

func TestServersHaveTheirProcess(t *testing.T) {
	r, all := started(t)
	path := filepath.Join(t.TempDir(), "s3cret")
	got, err := r.Measure(t.Context(), "lines", bench.Spec{URL: path, InFlight: 1, Duration: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if got.Ops < 1 || got.Errors != 0 || got.Allocs.Server == nil || *got.Allocs.Server <= 0 {
		t.Errorf("%+v", got)
	}
	cmd := ended(t, *all)
	if !cmd.ProcessState.Success() {
		t.Errorf("the server process: %v", cmd.ProcessState)
	}
	if slices.ContainsFunc(slices.Concat(cmd.Args, cmd.Env), func(s string) bool { return strings.Contains(s, "s3cret") }) {
		t.Error("the URL, which may hold a password, can be seen by other processes")
	}
}

func TestBrokerCPU(t *testing.T) {
	r, _ := started(t)
	var cpu time.Duration
	r.BrokerCPU = func(context.Context) (time.Duration, error) {
		cpu += time.Second
		return cpu, nil
	}
	got, err := r.Measure(t.Context(), "lines", bench.Spec{URL: filepath.Join(t.TempDir(), "s"), InFlight: 1, Duration: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if want := 1e6 / float64(got.Ops); got.BrokerCPU == nil || *got.BrokerCPU != want {
		t.Errorf("broker: %v, want %v", got.BrokerCPU, want)
	}
}

func TestServerProcessFails(t *testing.T) {
	for _, tt := range []struct{ system, words string }{
		{"broken", "no spark"},
		{"fragile", "exit status 3"},
	} {
		t.Run(tt.system, func(t *testing.T) {
			r, all := started(t)
			_, err := r.Measure(t.Context(), tt.system, bench.Spec{
				URL: filepath.Join(t.TempDir(), "s"), InFlight: 1, Duration: 20 * time.Millisecond,
			})
			if !errors.Is(err, bench.ErrServer) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("error %v, want %q", err, tt.words)
			}
			ended(t, *all)
		})
	}
}

func TestServerProcessIsNeeded(t *testing.T) {
	r := &bench.Runner{Systems: sockets()}
	if _, err := r.Measure(t.Context(), "lines", bench.Spec{}); !errors.Is(err, bench.ErrSpec) {
		t.Errorf("error %v", err)
	}
}

// TestServerProcessEndsWithItsInput holds that it does not outlive a parent
// that is killed.
func TestServerProcessEndsWithItsInput(t *testing.T) {
	var out strings.Builder
	order := fmt.Sprintf(`{"system":"lines","spec":{"url":%q,"servers":1}}`, filepath.Join(t.TempDir(), "s"))
	if err := bench.ServeProcess(t.Context(), sockets(), strings.NewReader(order), &out); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != 1 || strings.Contains(out.String(), "error") {
		t.Errorf("it said %q", out.String())
	}
}

func TestServerProcessRefuses(t *testing.T) {
	var out strings.Builder
	if err := bench.ServeProcess(t.Context(), sockets(), strings.NewReader("tea, please"), &out); err == nil {
		t.Error("nonsense was served")
	}
	if err := bench.ServeProcess(t.Context(), sockets(), strings.NewReader(`{"system":"absent"}`), &out); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "absent") {
		t.Errorf("it said %q", out.String())
	}
}
