// Package freeport finds ports of loopback for processes that bind them later.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports come in blocks below those that systems give out by themselves, and whoever
// takes a block listens on its first port: so nobody else who asks here gets it.
const (
	lowest  = 10_000
	highest = 32_000
	block   = 128
	tries   = 200
)

// Reserve returns n addresses, at most 127, where nobody listens and which nobody
// else is given until release is called.
func Reserve(ctx context.Context, n int) (addresses []string, release func(), err error) {
	if n >= block {
		return nil, nil, fmt.Errorf("%d ports are too many for one block", n)
	}
	for range tries {
		first := lowest + block*rand.IntN((highest-lowest)/block)
		lock, lockErr := listen(ctx, first)
		if lockErr != nil {
			err = lockErr
			continue
		}
		addresses = addresses[:0]
		for port := first + 1; port < first+block && len(addresses) < n; port++ {
			if l, busy := listen(ctx, port); busy == nil {
				_ = l.Close()
				addresses = append(addresses, l.Addr().String())
			}
		}
		if len(addresses) == n {
			return addresses, sync.OnceFunc(func() { _ = lock.Close() }), nil
		}
		_ = lock.Close()
	}
	return nil, nil, fmt.Errorf("looking for %d free ports: %w", n, err)
}

func listen(ctx context.Context, port int) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}
