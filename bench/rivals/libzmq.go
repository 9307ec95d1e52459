package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/patchbay-go/patchbay/bench"
)

//go:embed libzmq/perf.c
var perfSource string

// libzmq runs the C programs.
type libzmq struct{ program string }

// buildLibzmq compiles them, into a folder that the caller removes.
func buildLibzmq(ctx context.Context, dir string) (*libzmq, error) {
	source, program := filepath.Join(dir, "perf.c"), filepath.Join(dir, "perf")
	if err := os.WriteFile(source, []byte(perfSource), 0o600); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "cc", "-O2", "-o", program, source, "-lzmq").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("compiling the programs for libzmq: %w: %s (Debian: apt-get install gcc libc6-dev libzmq3-dev)", err, out)
	}
	return &libzmq{program}, nil
}

// measure runs one pair of programs.
func (l *libzmq) measure(ctx context.Context, s bench.Spec) (*bench.Sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	at, seconds, size := "tcp://"+address, fmt.Sprint(s.Duration.Seconds()), strconv.Itoa(s.Size)
	server, client := []string{"echo", at}, []string{"call", at, strconv.Itoa(s.InFlight), size, seconds}
	if s.Pattern == bench.Cast {
		server, client = []string{"sink", at, seconds}, []string{"send", at, size, fmt.Sprint(s.Duration.Seconds() + 2)}
	}
	srv := exec.CommandContext(ctx, l.program, server...)
	srv.Stderr = os.Stderr
	out, err := srv.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := srv.Start(); err != nil {
		return nil, err
	}
	defer func() {
		cancel()
		_ = srv.Wait() // it was killed
	}()
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("starting libzmq's server: %w", err)
	}
	cli := exec.CommandContext(ctx, l.program, client...)
	cli.Stderr = os.Stderr
	if s.Pattern == bench.Cast {
		if err := cli.Start(); err != nil {
			return nil, err
		}
		defer func() {
			cancel()
			_ = cli.Wait()
		}()
		return parsePerf(lines, s)
	}
	result, err := cli.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cli.Start(); err != nil {
		return nil, err
	}
	sample, err := parsePerf(result, s)
	return sample, errors.Join(err, cli.Wait())
}

func parsePerf(r io.Reader, s bench.Spec) (*bench.Sample, error) {
	var ops int64
	var seconds, p50 float64
	if _, err := fmt.Fscan(r, &ops, &seconds, &p50); err != nil {
		return nil, fmt.Errorf("reading what libzmq's program measured: %w", err)
	}
	return &bench.Sample{
		Pattern: s.Pattern, InFlight: s.InFlight, Size: s.Size, Servers: 1,
		Ops: ops, Seconds: seconds, Rate: float64(ops) / seconds, Latency: bench.Latency{P50: p50},
	}, nil
}
