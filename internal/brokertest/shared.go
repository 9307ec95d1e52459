package brokertest

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// The labels of every container. `make brokers-down` removes by the first.
const (
	labelTest  = "patchbay.test"
	labelOwner = "patchbay.test.owner" // host/uid
	labelPID   = "patchbay.test.pid"
)

//go:embed reaper.sh
var reaperScript string

// shared is the one exception to the rule that nothing is kept in a package's
// variables: go test gives the tests of a package no other place in common
// than their process, and a broker takes too long to start to have one each.
var shared = &registry{brokers: make(map[string]func() (*Broker, error))} //nolint:gochecknoglobals // see above

// A registry starts each broker once and sees to its removal.
type registry struct {
	mu      sync.Mutex
	brokers map[string]func() (*Broker, error)
	reaper  io.Closer // the pipe whose end tells the reaper that this process ended
}

// broker returns the broker of that name, opened by the first caller. That it
// could not be opened is remembered too: the tests that come later fail at
// once, with the same message.
func (r *registry) broker(name string, open func() (*Broker, error)) (*Broker, error) {
	r.mu.Lock()
	once, ok := r.brokers[name]
	if !ok {
		once = sync.OnceValues(open)
		r.brokers[name] = once
	}
	r.mu.Unlock()
	return once()
}

// prepare sets testcontainers up and starts the reaper, once. The library's
// own reaper is a container whose image has to come from a registry.
func (r *registry) prepare(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reaper != nil {
		return nil
	}
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return err
	}
	tclog.SetDefault(tclog.NewNoopLogger()) // what matters in it is in the errors too
	var engine string
	err := withEngine(ctx, func(c *testcontainers.DockerClient) error {
		engine = c.DaemonHost()
		return nil
	})
	if err != nil {
		return err
	}
	labels := r.labels()
	// No ctx: it must outlive every test. It ends by itself, after its stdin.
	reaper := exec.Command("sh", "-c", reaperScript, "reaper", labels[labelOwner], labels[labelPID]) //nolint:noctx // see above
	reaper.Env = append(os.Environ(), "DOCKER_HOST="+engine)
	stdin, err := reaper.StdinPipe()
	if err == nil {
		err = reaper.Start()
	}
	if err != nil {
		return fmt.Errorf("starting the process that removes the containers: %w", err)
	}
	r.reaper = stdin
	return nil
}

func (*registry) labels() map[string]string {
	host, _ := os.Hostname()
	return map[string]string{
		labelTest:  "true",
		labelOwner: host + "/" + strconv.Itoa(os.Getuid()),
		labelPID:   strconv.Itoa(os.Getpid()),
	}
}
