package coalesce

import (
	"context"
	"time"
)

// This file is about what waits to be written.

// Waiting returns how many bytes wait to be written.
func (c *Conn) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.buf) + c.left
}

// Room waits, under ctx, until less than limit bytes wait to be written: for who
// must not fill the buffer faster than the peer reads. Its error is ctx's cause,
// or what Write would return.
func (c *Conn) Room(ctx context.Context, limit int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf)+c.left >= limit && c.err == nil {
		defer context.AfterFunc(ctx, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.room.Broadcast()
		})()
	}
	for len(c.buf)+c.left >= limit && c.err == nil && ctx.Err() == nil {
		c.room.Wait()
	}
	switch {
	case c.err != nil:
		return c.err
	case len(c.buf)+c.left >= limit:
		return context.Cause(ctx)
	}
	return nil
}

// Stalled returns for how long the peer has not taken anything, while there was
// something to write.
func (c *Conn) Stalled() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writing {
		return 0
	}
	return time.Since(c.began)
}
