package messaging

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Transport is the application's end of a messaging system: it sends to
// addresses, listens on them, and matches replies to calls, over connections
// that it opens, shares, replaces and closes. Packages rpc and notify are
// built on it. It is safe for concurrent use. Close it in the end.
type Transport struct {
	driver Driver
	shares bool    // what listens uses the first connection for sending
	codecs []Codec // the first is for sending
	url    *URL
	opts   *Options // with defaults
	count  counters
	pool   *pool
	calls  *callTable
	refuse *refusals
	leave  chan struct{} // a place for each goroutine of abandon
	noise  *quiet
	seed   maphash.Seed

	messages sync.Pool // *Message, for encoding
	passing  sync.Pool // *passing
	ids      ids

	waiting sync.Mutex // protects waiters
	waiters freelist[*waiter]

	life  context.Context //nolint:containedctx // the transport's lifetime: it ends in the middle of Close, and nothing waits longer
	end   context.CancelFunc
	wg    sync.WaitGroup // every goroutine of the transport, see start
	ended chan struct{}  // closed when Close is done

	mu      sync.Mutex // protects the following
	closed  bool
	streams map[*Stream]struct{}
	opening map[*Stream]struct{} // that wait for their first connection

	closing chan struct{}   // closed when connections shall go
	grace   context.Context //nolint:containedctx // of Close, for the watchers: read only after closing is closed
}

// NewTransport returns a Transport over a driver. Applications use
// Registry.Open; tests and tools may bring a driver of their own. codecs[0] is
// used for sending, all for receiving. opts may be nil.
func NewTransport(d Driver, codecs []Codec, u *URL, opts *Options) (*Transport, error) {
	if len(codecs) == 0 {
		return nil, &OpError{Op: "opening a transport", Err: fmt.Errorf("%w: the driver has no codec", ErrUnsupported)}
	}
	if u == nil {
		u = &URL{}
	}
	t := &Transport{
		driver:  d,
		codecs:  codecs,
		url:     u,
		opts:    opts.WithDefaults(),
		seed:    maphash.MakeSeed(),
		ended:   make(chan struct{}),
		closing: make(chan struct{}),
		streams: make(map[*Stream]struct{}),
		opening: make(map[*Stream]struct{}),
		leave:   make(chan struct{}, 16),
	}
	t.life, t.end = context.WithCancel(context.Background()) //nolint:forbidigo // nobody's ctx lives as long as the transport
	t.messages.New = func() any { return new(Message) }
	t.passing.New = func() any { return new(passing) }
	sharer, ok := d.(Sharer)
	t.shares = d.SingleConn() || ok && sharer.ShareConn()
	t.pool = newPool(t)
	t.calls = newCallTable(t)
	t.refuse = newRefusals()
	t.noise = &quiet{log: t.opts.Logger}
	return t, nil
}

// URL returns the URL that the transport was opened with.
func (t *Transport) URL() *URL { return t.url }

// Connect opens the first connection, or finds that it is open. It tries all
// hosts, again and again with backoff until ctx ends; a permanent failure
// (ErrPermanent, ErrAuth) ends it at once. Nobody has to call it: everything
// else connects when it must.
func (t *Transport) Connect(ctx context.Context) error {
	_, err := t.connected(ctx)
	return err
}

// Capabilities returns what the peer can do; it connects to find out.
func (t *Transport) Capabilities(ctx context.Context) (Capabilities, error) {
	c, err := t.connected(ctx)
	if err != nil {
		return Capabilities{}, err
	}
	return c.caps, nil
}

func (t *Transport) connected(ctx context.Context) (*pooled, error) {
	c, err := t.pool.get(ctx, "", 0)
	if err != nil {
		return nil, &OpError{Op: "connecting", Err: err}
	}
	return c, nil
}

// Await waits until members listeners can be reached at the address, for
// drivers without a broker; with a broker it returns at once.
func (t *Transport) Await(ctx context.Context, to Address, members int) error {
	c, err := t.connected(ctx)
	if err != nil {
		return err
	}
	a, ok := c.Conn.(Awaiter)
	if !ok {
		return nil
	}
	if err := a.Await(ctx, to, members); err != nil {
		return &OpError{Op: "awaiting listeners of", Addr: to.String(), Err: err}
	}
	return nil
}

// Stats returns counters, and gauges of the moment.
func (t *Transport) Stats() Stats { return t.count.snapshot() }

// Close ends everything: streams, calls in flight (ErrClosed), connections. It
// lets pending outcomes arrive until ctx ends, and returns when every
// goroutine of the transport has ended. It may be called again, and
// concurrently: the first call works, the others wait for it until their own
// ctx ends.
func (t *Transport) Close(ctx context.Context) error {
	if t.shutdown(ctx) {
		return nil
	}
	if !closes(ctx, t.ended) {
		return &OpError{Op: "closing the transport", Err: context.Cause(ctx)}
	}
	return nil
}

// closes waits until done is closed or ctx ends, and reports whether done is: also
// if both are so, of which a select takes either.
func closes(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// shutdown reports false if somebody else shuts down already.
func (t *Transport) shutdown(ctx context.Context) bool {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return false
	}
	t.closed = true
	streams := make([]*Stream, 0, len(t.streams))
	for s := range t.streams {
		streams = append(streams, s)
	}
	t.mu.Unlock()
	t.calls.failAll(ErrClosed)
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() {
			if err := s.Close(ctx); err != nil {
				t.opts.Logger.Warn("patchbay: closing a stream", "error", err)
			}
		})
	}
	wg.Wait()
	t.grace = ctx
	close(t.closing)
	t.end()
	t.wg.Wait()
	t.calls.failAll(ErrClosed) // those that were being sent at first
	close(t.ended)
	return true
}

// isClosed reports whether Close was called.
func (t *Transport) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// start runs f on a goroutine that Close waits for. It reports false, and does
// not run f, once the transport is closed.
func (t *Transport) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// lostConnTime bounds the closing of a connection that is lost anyway.
const lostConnTime = 5 * time.Second

// closeConn closes a connection of the pool within the grace of Close, or within
// a bound of its own while the transport lives.
func (t *Transport) closeConn(c Conn) {
	select {
	case <-t.closing:
		t.closeWithin(t.grace, c)
	default:
		ctx, cancel := context.WithTimeout(t.life, lostConnTime)
		defer cancel()
		t.closeWithin(ctx, c)
	}
}

func (t *Transport) closeWithin(ctx context.Context, c Conn) {
	if err := c.Close(ctx); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrConnLost) && ctx.Err() == nil {
		t.opts.Logger.Warn("patchbay: closing a connection", "url", t.url.String(), "error", err)
	}
}

// bound returns a ctx that ends with ctx or with the transport.
func (t *Transport) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.life, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// idLength is the length of the ids that a Transport makes.
const idLength = 32

// ids makes ids. It fetches the randomness of several at once. It is safe for
// concurrent use.
type ids struct{ spare sync.Pool } // of *randomness

type randomness struct {
	bytes [16 * idLength / 2]byte
	used  int
}

// next returns 32 hexadecimal digits that nobody can guess: the form of
// oslo.messaging's ids, and hard to forge for who would answer a stranger's call.
func (s *ids) next() string {
	r, _ := s.spare.Get().(*randomness)
	if r == nil {
		r = &randomness{used: len(randomness{}.bytes)}
	}
	if r.used == len(r.bytes) {
		_, _ = rand.Read(r.bytes[:]) // never fails, by its contract
		r.used = 0
	}
	b := r.bytes[r.used:][:idLength/2]
	var h [idLength]byte
	hex.Encode(h[:], b)
	clear(b) // used once
	r.used += len(b)
	s.spare.Put(r)
	return string(h[:])
}

func processName() string {
	return fmt.Sprintf("%s:%d", filepath.Base(os.Args[0]), os.Getpid())
}
