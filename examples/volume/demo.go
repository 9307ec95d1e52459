package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// demo is all of it in one process: a server, a watcher, and clients of which some are
// of an older version.
func (p *program) demo(ctx context.Context) error {
	const host = "host1"
	happened := make(chan string, 10)
	watcher, err := p.watcher(func(line string) { happened <- line })
	if err == nil {
		err = watcher.Start(ctx)
	}
	if err != nil {
		return err
	}
	srv, err := NewManager(p.t, host).Server(p.t)
	if err == nil {
		err = srv.Start(ctx)
	}
	if err != nil {
		return errors.Join(err, watcher.Wait(ctx))
	}
	for _, step := range []struct {
		version, command string
		notifications    int
	}{
		{"", "capabilities", 0},
		{"", "create host1 v-1 10 ssd", 2},
		{"", "get host1 v-1", 0},
		{"1.0", "create host1 v-2 20", 2},
		{"1.0", "create host1 v-3 30 ssd", 0},
		{"1.0", "extend host1 v-2 40", 0},
		{"1.1", "extend host1 v-2 40", 1},
		{"1.1", "delete host1 v-2", 1},
		{"", "get host1 v-2", 0},
		{"", "extend host1 v-2 50", 1},
	} {
		flag := strings.TrimSuffix("-version "+step.version+" ", "-version  ")
		fmt.Fprintf(p.out, "$ volume %s%s\n", flag, step.command)
		if err := p.do(ctx, NewAPI(p.t, step.version), strings.Fields(step.command)); err != nil {
			fmt.Fprintln(p.out, err)
		}
		for range step.notifications {
			select {
			case line := <-happened:
				fmt.Fprintln(p.out, line)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return errors.Join(srv.Wait(ctx), watcher.Wait(ctx))
}
