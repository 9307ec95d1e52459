// Package coalesce makes many small writes on a connection few large ones.
//
// AMQP client libraries flush after every frame group, so that each publish
// and each acknowledgement is a system call of its own, made under the
// library's locks. Under a [Conn] a Write only appends to a buffer, and one
// goroutine writes out whatever has gathered while its last write was under
// way: one write at a time when there is little to do, a large one when there
// is much, and no timer.
package coalesce

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// piece bounds one write to the connection beneath, so that the write
	// timeout measures progress and not the size of what has gathered.
	piece = 256 << 10
	// defaultKeep is Options.Keep's default.
	defaultKeep = 1 << 20
	// busyKeep is how many times Options.Keep a busy Conn keeps: to grow buffers anew
	// now and then costs as much as all else. It is busy until nothing larger than
	// Keep was written for busyTime.
	busyKeep = 8
	busyTime = time.Second
)

// Options bound what a Conn does. The zero value of each field means its default.
type Options struct {
	// Limit is how many bytes may wait to be written before Write blocks. A
	// Write that finds less waiting is taken whole. Default: 4 MiB.
	Limit int

	// WriteTimeout ends the connection when the peer takes nothing for that
	// long, or up to a quarter less, while there is something to write.
	// Default: 30 s; negative: never.
	WriteTimeout time.Duration

	// CloseTimeout bounds how long Close tries to write what is left.
	// Default: 1 s.
	CloseTimeout time.Duration

	// Keep bounds each of the two buffers that an idle Conn holds on to, in
	// bytes. A busy one, which writes more than that now and then, holds on to 8
	// times as much. Default: 1 MiB.
	Keep int
}

// Conn is a net.Conn whose Write does not wait for the network. All methods
// are safe for concurrent use; concurrent Writes keep their bytes together and
// each goroutine's in order.
//
// It has write deadlines of its own: SetWriteDeadline does nothing, and
// SetDeadline is SetReadDeadline.
type Conn struct {
	net.Conn // beneath; its Write and SetWriteDeadline are the flusher's

	limit        int
	keep         int
	closeTimeout time.Duration
	flushed      chan struct{} // closed when the flusher has ended

	mu      sync.Mutex // protects what follows
	work    sync.Cond  // there is something to write, or the Conn ends
	room    sync.Cond  // there is room again, or the Conn ends
	buf     []byte     // taken from Write, not yet from here
	later   []func()   // see Later
	asking  bool       // they are being called
	spare   []byte     // the buffer of the last Kick
	kicking bool       // a Kick is writing
	wrote   time.Time  // when a write last ended; kept by Kick and the flusher
	now     immediate  // nil where a write cannot be tried without waiting
	timeout time.Duration
	left    int       // bytes taken from buf and not written yet
	writing bool      // the flusher is in Write beneath
	until   time.Time // the deadline that is set; zero: none
	began   time.Time // that Write
	last    time.Time // no write goes on after it; zero until Close
	err     error     // what Write returns from now on
	lost    bool      // something that was taken was not written
}

// New returns a Conn over nc, which it owns from then on, and starts its
// goroutine, which ends with Close or Abort.
func New(nc net.Conn, o Options) *Conn {
	if o.Limit <= 0 {
		o.Limit = 4 << 20
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = time.Second
	}
	if o.Keep <= 0 {
		o.Keep = defaultKeep
	}
	c := &Conn{
		Conn: nc, limit: o.Limit, keep: o.Keep, timeout: o.WriteTimeout, closeTimeout: o.CloseTimeout,
		flushed: make(chan struct{}),
	}
	c.work.L, c.room.L = &c.mu, &c.mu
	c.now = newImmediate(nc)
	go c.flush()
	return c
}

// Write takes p, to be written soon, and keeps nothing of it. It blocks only
// while the limit is waiting already. Its error is net.ErrClosed or the one
// that the connection beneath gave for an earlier Write's bytes, which also
// ends Read; nothing of p is written then.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.WriteParts(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteParts is Write for parts that stay together.
func (c *Conn) WriteParts(parts ...[]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.take(parts); err != nil {
		return err
	}
	c.work.Signal()
	return nil
}

// Append is WriteParts for who calls Kick after it.
func (c *Conn) Append(parts ...[]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.take(parts)
}

// take takes parts when there is room. c.mu is held.
func (c *Conn) take(parts [][]byte) error {
	for len(c.buf) >= c.limit && c.err == nil && !c.asking {
		c.room.Wait()
	}
	if c.err != nil {
		return c.err
	}
	for _, p := range parts {
		c.buf = append(c.buf, p...)
	}
	return nil
}

// Later has f called once before the next write, which is soon, on the goroutine
// that writes: what f writes goes along. So what many have to say together is not
// made before it can be written, and nobody else is woken for it. f must not wait
// for anybody who writes.
func (c *Conn) Later(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.later = append(c.later, f)
	c.work.Signal()
}

const (
	// quiet is how long nothing must have been written for Kick to write by itself:
	// on a busy connection there is more to come, which is better written together.
	quiet = 20 * time.Microsecond
	// small bounds what it writes.
	small = 16 << 10
)

// Kick sees to it that what Append took is written soon. While there is little to
// do it writes itself, if that is possible without waiting: so a lone message is
// not handed to the other goroutine first.
func (c *Conn) Kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf) == 0 || c.left > 0 || c.kicking || c.err != nil {
		return // who writes looks again when that is done
	}
	began := time.Now()
	if c.now == nil || len(c.buf) > small || began.Sub(c.wrote) < quiet {
		c.work.Signal()
		return
	}
	batch := c.buf
	c.buf, c.left, c.kicking = c.spare[:0], len(batch), true
	c.mu.Unlock()
	n, err := c.now.try(batch)
	c.mu.Lock()
	c.left, c.kicking, c.wrote = 0, false, began
	if n < len(batch) && err == nil { // the rest goes before what has come meanwhile
		rest := append([]byte(nil), batch[n:]...)
		c.buf = append(rest, c.buf...)
	}
	c.spare = batch[:0]
	c.room.Broadcast()
	if err != nil {
		c.lost, c.buf = true, nil
		c.fail(err)
		c.mu.Unlock()
		c.cut() // so that Read ends too
		c.mu.Lock()
		return
	}
	if len(c.buf) > 0 || c.err != nil {
		c.work.Broadcast()
	}
}

// immediate writes what it can without waiting. An error is that of the
// connection; that it cannot take anything now is none.
type immediate interface{ try(b []byte) (int, error) }

// SetWriteTimeout replaces Options.WriteTimeout, for a write that is under way
// too. Zero or less is never: for a peer which has announced that it will not
// read for a while.
func (c *Conn) SetWriteTimeout(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeout = d
	if c.writing {
		c.setDeadline()
	}
}

// SetDeadline sets the deadline of Read.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: see Conn.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Close writes what was taken and then closes the connection. It returns when
// the goroutine has ended, after Options.CloseTimeout at the latest; the error
// says that not everything was written. A second Close waits for the first.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.last.IsZero() {
		c.last = time.Now().Add(c.closeTimeout)
	}
	if c.writing {
		c.setDeadline()
	}
	c.fail(net.ErrClosed)
	c.mu.Unlock()
	<-c.flushed

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost {
		return c.err
	}
	_ = c.Conn.Close() // a second Close finds it closed
	return nil
}

// Abort closes the connection at once, whatever is unwritten, and returns when
// the goroutine has ended.
func (c *Conn) Abort() {
	c.mu.Lock()
	c.last = time.Now()
	c.fail(net.ErrClosed)
	c.mu.Unlock()
	c.cut()
	<-c.flushed
}

// Err returns why Write fails from now on: net.ErrClosed after Close or Abort,
// else the error of the connection beneath; nil while it does not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// cut closes the socket itself: a TLS connection would first wait to say
// goodbye to a peer that may not read.
func (c *Conn) cut() {
	if t, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		_ = t.NetConn().Close()
	}
	_ = c.Conn.Close()
}

// fail makes every Write fail from now on and wakes whoever waits. c.mu is held.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.work.Broadcast()
	c.room.Broadcast()
}

// setDeadline sets the deadline of the write that is under way or about to
// begin. c.mu is held, so that the latest caller is the one who counts.
//
// One that is near enough stays: to set it costs as much as a small write.
func (c *Conn) setDeadline() {
	now, t := time.Now(), c.last
	if d := c.timeout; d > 0 {
		if left := c.until.Sub(now); t.IsZero() && left >= d-d/4 && left <= d {
			return
		}
		if at := now.Add(d); t.IsZero() || at.Before(t) {
			t = at
		}
	}
	c.until = t
	_ = c.Conn.SetWriteDeadline(t)
}

// flush is the goroutine: it writes until the connection fails, or ends and
// nothing is left.
func (c *Conn) flush() {
	defer close(c.flushed)
	var batch []byte
	var asked []func()
	var large time.Time // when more than keep was last written
	for {
		c.mu.Lock()
		for len(c.buf) == 0 && len(c.later) == 0 || c.kicking {
			if c.err != nil && !c.kicking {
				c.mu.Unlock()
				return
			}
			c.work.Wait()
		}
		c.mu.Unlock()

		// Whoever is about to write does so before the batch is taken. It costs
		// nothing when nobody is.
		runtime.Gosched()

		c.mu.Lock()
		asked = c.ask(asked)
		if c.kicking || len(c.buf) == 0 {
			c.mu.Unlock()
			continue
		}
		batch, c.buf = c.buf, batch[:0]
		c.left = len(batch)
		c.room.Broadcast()
		c.mu.Unlock()

		if !c.write(batch) {
			return
		}
		if cap(batch) > c.keep {
			now := time.Now()
			if len(batch) > c.keep {
				large = now
			}
			if cap(batch) > busyKeep*c.keep || now.Sub(large) > busyTime {
				batch = nil
			}
		}
	}
}

// ask calls what Later was given, and returns room for more. c.mu is held, but not
// by the calls.
func (c *Conn) ask(room []func()) []func() {
	if len(c.later) == 0 {
		return room
	}
	asked := c.later
	c.later, c.asking = room, true
	c.room.Broadcast() // nobody waits for room who may hold what they need
	c.mu.Unlock()
	for _, f := range asked {
		f()
	}
	c.mu.Lock()
	c.asking = false
	clear(asked)
	return asked[:0]
}

// write writes all of b, in pieces, and reports whether it could.
func (c *Conn) write(b []byte) bool {
	for len(b) > 0 {
		c.mu.Lock()
		c.writing, c.began = true, time.Now()
		c.setDeadline()
		c.mu.Unlock()

		n, err := c.Conn.Write(b[:min(len(b), piece)])

		c.mu.Lock()
		c.writing, c.wrote = false, time.Now()
		b = b[n:]
		c.left = len(b)
		c.room.Broadcast()
		if err != nil {
			c.lost, c.buf = true, nil
			c.fail(err)
		}
		c.mu.Unlock()
		if err != nil {
			c.cut() // so that Read ends too
			return false
		}
	}
	return true
}
