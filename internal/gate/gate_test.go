package gate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd are senders that were let in.
type crowd struct {
	mu sync.Mutex
	in []int
}

// enterAll has senders of these sizes come, one after the other.
func enterAll(t *testing.T, g *Gate, sizes ...int) *crowd {
	t.Helper()
	c := &crowd{}
	for i, n := range sizes {
		go func() {
			if g.Enter(t.Context(), n) == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.in = append(c.in, i)
			}
		}()
		synctest.Wait()
	}
	return c
}

func (c *crowd) expect(t *testing.T, want ...int) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := slices.Sorted(slices.Values(c.in)); !slices.Equal(got, want) {
		t.Errorf("inside are %v, want %v", got, want)
	}
}

func TestGate(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, g *Gate)
	}{
		{"counts", func(t *testing.T, g *Gate) {
			in := enterAll(t, g, 1, 1, 1, 1, 1)
			in.expect(t, 0, 1, 2)
			g.Leave(1, 1)
			in.expect(t, 0, 1, 2, 3)
			g.Leave(3, 3)
			in.expect(t, 0, 1, 2, 3, 4)
		}},
		{"counts bytes, in order", func(t *testing.T, g *Gate) {
			in := enterAll(t, g, 60, 60, 1)
			in.expect(t, 0)
			g.Leave(1, 60)
			in.expect(t, 0, 1, 2)
		}},
		{"lets a large one in alone", func(t *testing.T, g *Gate) {
			in := enterAll(t, g, 1, 1000, 1)
			in.expect(t, 0)
			g.Leave(1, 1)
			in.expect(t, 0, 1)
			g.Leave(1, 1000)
			in.expect(t, 0, 1, 2)
		}},
		{"blocks", func(t *testing.T, g *Gate) {
			g.Block(true)
			in := enterAll(t, g, 1, 1)
			in.expect(t)
			g.Block(false)
			in.expect(t, 0, 1)
		}},
		{"allows more and less", func(t *testing.T, g *Gate) {
			in := enterAll(t, g, 1, 1, 1, 1, 1)
			in.expect(t, 0, 1, 2)
			g.Allow(4)
			in.expect(t, 0, 1, 2, 3)
			g.Allow(2)
			g.Leave(2, 2)
			in.expect(t, 0, 1, 2, 3)
			g.Leave(1, 1)
			in.expect(t, 0, 1, 2, 3, 4)
		}},
		{"heeds the context, and lets in who is behind", func(t *testing.T, g *Gate) {
			in := enterAll(t, g, 60)
			why := errors.New("why")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, why)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- g.Enter(ctx, 60) }()
			synctest.Wait()
			behind := enterAll(t, g, 1)
			behind.expect(t)
			if err := <-ended; !errors.Is(err, why) {
				t.Errorf("enter = %v, want the cause", err)
			}
			behind.expect(t, 0)
			in.expect(t, 0)
		}},
		{"shuts", func(t *testing.T, g *Gate) {
			why := errors.New("why")
			_ = enterAll(t, g, 60)
			ended := make(chan error, 1)
			go func() { ended <- g.Enter(t.Context(), 60) }()
			synctest.Wait()
			g.Shut(why)
			g.Shut(errors.New("later"))
			if err := <-ended; !errors.Is(err, why) {
				t.Errorf("who waited got %v", err)
			}
			if err := g.Enter(t.Context(), 1); !errors.Is(err, why) {
				t.Errorf("who came later got %v", err)
			}
			first, second := g.Empty(), g.Empty()
			select {
			case <-first:
				t.Error("empty with one inside")
			default:
			}
			g.Leave(1, 60)
			<-first
			<-second
			<-g.Empty()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tt.do(t, &Gate{MaxCount: 3, MaxBytes: 100}) })
		})
	}
}
