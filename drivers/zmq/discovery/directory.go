package discovery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// socketSuffix ends the names of sockets in a directory.
const socketSuffix = ".sock"

// Directory returns a view of the sockets in a directory, which is looked at
// every so often. Their owners make and remove them, so that to register is
// nothing more. A directory that is not there is empty.
func Directory(dir string, every time.Duration) Discovery {
	return &directory{dir: dir, every: every, stop: make(chan struct{})}
}

type directory struct {
	dir     string
	every   time.Duration
	running sync.WaitGroup
	once    sync.Once
	stop    chan struct{}
}

// Register implements Discovery.
func (*directory) Register(context.Context, string) (Lease, error) { return noLease{}, nil }

// Watch implements Discovery.
func (d *directory) Watch(_ context.Context, see func([]string)) error {
	last, err := d.list()
	if err != nil {
		return err
	}
	see(last)
	d.running.Go(func() {
		ticker := time.NewTicker(d.every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-d.stop:
				return
			}
			if now, err := d.list(); err == nil && !slices.Equal(now, last) {
				last = now
				see(now)
			}
		}
	})
	return nil
}

func (d *directory) list() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("looking for sockets: %w", err)
	}
	var endpoints []string
	for _, e := range entries {
		if e.Type()&os.ModeSocket != 0 && strings.HasSuffix(e.Name(), socketSuffix) {
			endpoints = append(endpoints, "ipc://"+filepath.Join(d.dir, e.Name()))
		}
	}
	return endpoints, nil
}

// Close implements Discovery.
func (d *directory) Close(context.Context) error {
	d.once.Do(func() { close(d.stop) })
	d.running.Wait()
	return nil
}
