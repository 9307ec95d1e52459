package amqp091_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/bench/amqp091"
	"github.com/patchbay-go/patchbay/internal/brokertest"
)

// serverVariable makes the test binary the server process of a test.
const serverVariable = "PATCHBAY_BENCH_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		if err := bench.ServeProcess(context.Background(), systems(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func systems() map[string]bench.System {
	return map[string]bench.System{"naive": amqp091.Naive(), "alike": amqp091.Alike(), "tuned": amqp091.Tuned()}
}

func serverProcess(ctx context.Context) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), serverVariable+"=yes")
	cmd.Stderr = os.Stderr
	return cmd, nil
}

func TestSystems(t *testing.T) {
	url := brokertest.RabbitMQ(t, "4.3").VHost(t)
	r := &bench.Runner{Systems: systems(), Process: serverProcess}
	for name := range r.Systems {
		for _, pattern := range bench.Patterns() {
			t.Run(name+"/"+string(pattern), func(t *testing.T) {
				got, err := r.Measure(t.Context(), name, bench.Spec{
					URL: url + "?wire=native", Pattern: pattern, InFlight: 8, Servers: 2, Duration: 100 * time.Millisecond,
				})
				if err != nil {
					t.Fatal(err)
				}
				if got.Ops < 1 || got.Errors != 0 || got.Allocs.Server == nil {
					t.Errorf("%+v: %v", got, got.FirstError)
				}
			})
		}
	}
}

func TestPasswordStaysSecret(t *testing.T) {
	for _, url := range []string{"rabbit://u:s3cret@127.0.0.1:1/", "rabbit://u:s3cret@[::/"} {
		if _, err := amqp091.Naive().Dial(t.Context(), &bench.Spec{URL: url}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v", err)
		}
	}
}
