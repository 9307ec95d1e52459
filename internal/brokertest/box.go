package brokertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/wait"
)

// imagePrefix is what brokers/build-images puts before an image's name.
const imagePrefix = "patchbay-test/"

// A boxSpec describes a container.
type boxSpec struct {
	image    string // name and tag without imagePrefix, as built by brokers/build-images
	override string // another image, to be pulled when it is not here; empty: none
	ports    []int  // TCP ports inside the container to publish on loopback
	env      map[string]string
	files    map[string]string // path inside the container: content
	readyLog string            // what its log says once it is up
}

// A box is a container whose published ports stay the same when it is killed
// and started again.
type box struct {
	tc    *testcontainers.DockerContainer
	ports map[int]int // port in the container: port on loopback
}

func runBox(ctx context.Context, spec boxSpec) (*box, error) {
	if err := shared.prepare(ctx); err != nil {
		return nil, err
	}
	image := spec.override
	if image == "" {
		image = imagePrefix + spec.image
		if err := haveImage(ctx, image); err != nil {
			return nil, err
		}
	}
	const tries = 5 // another process can take a port between our look and the engine's
	for i := 1; ; i++ {
		b, err := tryBox(ctx, image, spec)
		if err == nil || i == tries || !portTaken(err) {
			return b, err
		}
	}
}

// haveImage fails when the engine does not have the image, before
// testcontainers looks for it in a registry where anyone could own the name.
func haveImage(ctx context.Context, image string) error {
	return withEngine(ctx, func(c *testcontainers.DockerClient) error {
		if _, err := c.ImageInspect(ctx, image); err != nil {
			return fmt.Errorf("the engine has no image %s: %w", image, err)
		}
		return nil
	})
}

func tryBox(ctx context.Context, image string, spec boxSpec) (*box, error) {
	b := &box{ports: make(map[int]int)}
	bindings := make(network.PortMap)
	req := testcontainers.ContainerRequest{
		Image:              image,
		Env:                spec.env,
		Labels:             maps.Clone(shared.labels()),
		HostConfigModifier: func(c *container.HostConfig) { c.PortBindings = bindings },
		WaitingFor:         wait.ForLog(spec.readyLog).WithStartupTimeout(startTimeout),
	}
	for _, p := range spec.ports {
		free, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		b.ports[p] = free
		req.ExposedPorts = append(req.ExposedPorts, fmt.Sprintf("%d/tcp", p))
		bindings[network.MustParsePort(fmt.Sprintf("%d/tcp", p))] = []network.PortBinding{
			{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(free)},
		}
	}
	for path, content := range spec.files {
		req.Files = append(req.Files, testcontainers.ContainerFile{
			Reader: strings.NewReader(content), ContainerFilePath: path, FileMode: 0o644,
		})
	}
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{ContainerRequest: req, Started: true})
	if err != nil {
		return nil, errors.Join(err, testcontainers.TerminateContainer(c))
	}
	b.tc = c.(*testcontainers.DockerContainer)
	return b, nil
}

// freePort returns a port of loopback on which nobody listens. It is below the
// range of which systems take the local ports of outgoing connections: one of
// those, of a client that redials a stopped broker, would keep the broker from
// getting its port back, or would even connect to itself.
func freePort(ctx context.Context) (int, error) {
	const low, span = 20000, 10000
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(span))
		if err != nil {
			return 0, err
		}
		port := low + int(n.Int64())
		l, err := new(net.ListenConfig).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port on loopback from %d to %d", low, low+span-1)
}

func portTaken(err error) bool {
	return strings.Contains(err.Error(), "port is already allocated") ||
		strings.Contains(err.Error(), "address already in use")
}

func (b *box) address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.ports[port]))
}

func (b *box) exec(ctx context.Context, args []string) (string, error) {
	code, out, err := b.tc.Exec(ctx, args, tcexec.Multiplexed())
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(out)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d: %s", code, strings.TrimSpace(string(text)))
	}
	return string(text), err
}

func (b *box) kill(ctx context.Context) error {
	return withEngine(ctx, func(c *testcontainers.DockerClient) error {
		id := b.tc.GetContainerID()
		if _, err := c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
			return err
		}
		// The engine answers before the processes are gone.
		gone := c.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case <-gone.Result:
			return nil
		case err := <-gone.Error:
			return err
		}
	})
}

func (b *box) stop(ctx context.Context) error {
	return withEngine(ctx, func(c *testcontainers.DockerClient) error {
		_, err := c.ContainerStop(ctx, b.tc.GetContainerID(), client.ContainerStopOptions{})
		return err
	})
}

func (b *box) start(ctx context.Context) error {
	return withEngine(ctx, func(c *testcontainers.DockerClient) error {
		_, err := c.ContainerStart(ctx, b.tc.GetContainerID(), client.ContainerStartOptions{})
		return err
	})
}

func (b *box) pause(ctx context.Context) error {
	return withEngine(ctx, func(c *testcontainers.DockerClient) error {
		_, err := c.ContainerPause(ctx, b.tc.GetContainerID(), client.ContainerPauseOptions{})
		return err
	})
}

func (b *box) unpause(ctx context.Context) error {
	return withEngine(ctx, func(c *testcontainers.DockerClient) error {
		_, err := c.ContainerUnpause(ctx, b.tc.GetContainerID(), client.ContainerUnpauseOptions{})
		return err
	})
}

// withEngine calls f with a client of its own, so that no idle connection stays
// behind for a test to take for a leak.
func withEngine(ctx context.Context, f func(*testcontainers.DockerClient) error) error {
	c, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return fmt.Errorf("no container engine answers: %w", err)
	}
	defer func() { _ = c.Close() }()
	return f(c)
}
