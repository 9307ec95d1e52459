package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNoBroker means that the process of the broker cannot be seen from here.
var ErrNoBroker = errors.New("no process of the broker is visible")

// ContainerCPU returns how to read the CPU time of the container that publishes
// a TCP port on this machine, for Runner.BrokerCPU. It asks the docker command
// which container that is, and Linux for what its processes have used. The
// error is ErrNoBroker where that is not possible.
func ContainerCPU(ctx context.Context, port string) (func(context.Context) (time.Duration, error), error) {
	id, err := docker(ctx, "ps", "--quiet", "--no-trunc", "--filter", "publish="+port)
	if err != nil {
		return nil, err
	}
	if id == "" || strings.Contains(id, "\n") {
		return nil, fmt.Errorf("%w: no container publishes port %s, or several do", ErrNoBroker, port)
	}
	pid, err := docker(ctx, "inspect", "--format", "{{.State.Pid}}", id)
	if err != nil {
		return nil, err
	}
	read := func(context.Context) (time.Duration, error) { return TreeCPU(pid) }
	_, err = read(ctx)
	return read, err
}

func docker(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	if err != nil {
		return "", fmt.Errorf("%w: docker %s: %w", ErrNoBroker, args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// TreeCPU returns the CPU time of a process and its descendants, those that
// ended and were waited for included. It needs Linux's /proc. The error is
// ErrNoBroker where there is none, or no such process.
func TreeCPU(pid string) (time.Duration, error) {
	if _, err := strconv.ParseUint(pid, 10, 32); err != nil {
		return 0, fmt.Errorf("%w: process id %q", ErrNoBroker, pid)
	}
	root := filepath.Join("/proc", pid)
	total, err := statCPU(filepath.Join(root, "stat"))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoBroker, err)
	}
	lists, err := filepath.Glob(filepath.Join(root, "task", "*", "children"))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			if cpu, err := TreeCPU(child); err == nil { // else it has ended, and is its parent's
				total += cpu
			}
		}
	}
	return total, nil
}

// statCPU reads utime, stime, cutime and cstime of a /proc/PID/stat (proc_pid_stat(5)).
func statCPU(file string) (time.Duration, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return parseStat(string(data))
}

// tick is the unit of Linux's CPU times on every machine that Go runs on.
const tick = time.Second / 100

func parseStat(stat string) (time.Duration, error) {
	_, rest, _ := strings.Cut(stat[max(0, strings.LastIndexByte(stat, ')')):], ") ") // a name may hold anything
	fields := strings.Fields(rest)
	const first = 14 - 3 // utime is the 14th field, and rest begins with the third
	if len(fields) < first+4 {
		return 0, fmt.Errorf("%w: %d fields in the state of a process", ErrNoBroker, len(fields))
	}
	var total time.Duration
	for _, f := range fields[first : first+4] {
		n, err := strconv.ParseUint(f, 10, 62)
		if err != nil {
			return 0, fmt.Errorf("%w: state of a process: %w", ErrNoBroker, err)
		}
		total += time.Duration(n) * tick
	}
	return total, nil
}
