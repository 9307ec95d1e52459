package main

import (
	"errors"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/bench"
)

// apart is what is measured in two processes.
type apart struct{}

// InMemory implements bench.System.
func (apart) InMemory(*bench.Spec) bool { return false }

func addressOf(s *bench.Spec) string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// pending matches replies to calls by a number before the body.
type pending struct {
	next  atomic.Uint64
	mu    sync.Mutex
	calls map[uint64]chan struct{}
	pool  sync.Pool
	err   chan struct{}
}

func newPending() *pending {
	p := &pending{calls: map[uint64]chan struct{}{}, err: make(chan struct{})}
	p.pool.New = func() any { return make(chan struct{}, 1) }
	return p
}

var errGone = errors.New("the connection is gone")

func (p *pending) do(send func(id uint64) error) error {
	id := p.next.Add(1)
	ch := p.pool.Get().(chan struct{})
	p.mu.Lock()
	p.calls[id] = ch
	p.mu.Unlock()
	if err := send(id); err != nil {
		return err
	}
	select {
	case <-ch:
		p.pool.Put(ch)
		return nil
	case <-p.err:
		return errGone
	}
}

func (p *pending) done(id uint64) {
	p.mu.Lock()
	ch := p.calls[id]
	delete(p.calls, id)
	p.mu.Unlock()
	if ch != nil {
		ch <- struct{}{}
	}
}
