package zmq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// candidate is an endpoint where a node may be. Its goroutine links to it, reads
// the link, and links again, for as long as discovery lists it or the link lives.
type candidate struct {
	client   *client
	endpoint string
	life     context.Context //nolint:containedctx // of the goroutine
	end      context.CancelFunc
	wake     chan struct{} // holds a token when it should not wait any longer

	// client.mu guards the following.
	tried  bool // the first attempt is over
	listed bool
	why    error     // of the last attempt; nil: it is linked
	broken *peer     // whose link is being repaired
	since  time.Time // when that was lost
}

// localEndpoint stands for this node's own half that listens.
const localEndpoint = "inproc://self"

const (
	redialMin = 100 * time.Millisecond
	aliasTime = 5 * time.Second // until an endpoint of a node that is linked already is tried again
	selfTime  = time.Minute     // and one of this node

	// repairTime is how long the servers behind a lost link are waited for, unless
	// it turns out earlier that nobody is there.
	repairTime = 5 * time.Second
)

// see takes in what discovery knows.
func (cl *client) see(endpoints []string) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.endpoints = endpoints
	if cl.on {
		cl.pursue()
	}
}

// start begins to keep links. mu is held.
func (cl *client) start() {
	cl.on = true
	cl.pursue()
	cl.announce()
}

// pursue has a candidate for each endpoint, and lets go of the others. mu is held.
func (cl *client) pursue() {
	if cl.leaving {
		return
	}
	for _, cd := range cl.candidates {
		cd.listed = false
	}
	endpoints := cl.endpoints
	if cl.self != nil {
		endpoints = append([]string{localEndpoint}, endpoints...)
	}
	for _, endpoint := range endpoints {
		cd := cl.candidates[endpoint]
		if cd == nil {
			if cd = cl.newCandidate(endpoint); cd == nil {
				return
			}
		}
		cd.listed = true
	}
	for _, cd := range cl.candidates {
		if !cd.listed {
			cd.poke() // unless it is linked, it ends
		}
	}
}

// newCandidate starts a candidate, or returns nil when the node ends. mu is held.
func (cl *client) newCandidate(endpoint string) *candidate {
	cd := &candidate{client: cl, endpoint: endpoint, wake: make(chan struct{}, 1)}
	cd.life, cd.end = context.WithCancel(cl.c.life)
	if !cl.c.spawn(cd.run) {
		cd.end()
		return nil
	}
	cl.candidates[endpoint] = cd
	cl.trying++
	return cd
}

// poke ends the candidate's wait.
func (cd *candidate) poke() {
	select {
	case cd.wake <- struct{}{}:
	default:
	}
}

// stop ends all links of a node that has no use for them.
func (cl *client) stop() {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.used {
		return
	}
	cl.on = false
	var none outcomes // nothing was ever sent
	for _, cd := range cl.candidates {
		cd.end()
	}
	for _, p := range cl.peers {
		p.up = false
		p.end(&none)
	}
	clear(cl.candidates) // what begins anew does not wait for these
	cl.trying = 0
}

// bound tells the client of this node's own server.
func (cl *client) bound(s *server) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.self = s
	if cl.on {
		cl.pursue()
	}
}

// run is the candidate's goroutine.
func (cd *candidate) run() {
	defer cd.gone()
	for attempt, tries := 1, 0; ; attempt++ {
		began := time.Now()
		p, err := cd.open()
		alias := errors.Is(err, errSelf) || errors.Is(err, errAgain)
		if cd.life.Err() == nil && !alias && cd.endpoint != localEndpoint {
			cd.client.c.links.Dialed(cd.name(), attempt, time.Since(began), nobodyThere(err))
		}
		if err == nil {
			cd.serve(p)
			attempt, tries = 0, 0
		} else {
			cd.failed(err)
		}
		wait := backoff(tries, redialMin, cd.client.redialMax())
		switch {
		case errors.Is(err, errSelf):
			wait = selfTime
		case alias:
			wait = aliasTime
		}
		tries++
		if !cd.rest(wait) {
			return
		}
	}
}

// backoff returns a random wait below a bound that doubles from least to most.
func backoff(tries int, least, most time.Duration) time.Duration {
	return rand.N(max(min(least<<min(tries, 20), most), 1)) //nolint:gosec // jitter
}

// redialMax is shorter while somebody waits for servers.
func (cl *client) redialMax() time.Duration {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.awaiting > 0 || cl.trying > 0 {
		return min(redialMin, cl.c.o.redialMax)
	}
	return cl.c.o.redialMax
}

// rest waits, and reports whether to go on.
func (cd *candidate) rest(d time.Duration) bool {
	cd.client.mu.Lock()
	listed := cd.listed
	cd.client.mu.Unlock()
	if !listed || cd.life.Err() != nil {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-cd.wake:
	case <-cd.life.Done():
		return false
	}
	cd.client.mu.Lock()
	defer cd.client.mu.Unlock()
	return cd.listed
}

func (cd *candidate) name() string {
	_, address, _ := strings.Cut(cd.endpoint, "://")
	return address
}

// join makes the peer of a link that has greeted, or finds the one whose link it
// repairs.
func (cl *client) join(cd *candidate, lk *link.Link, hello *proto.HelloBody) (*peer, error) {
	var told outcomes
	defer func() { told.tell() }()
	cl.mu.Lock()
	defer cl.mu.Unlock()
	switch old := cl.peers[hello.Node]; {
	case cl.leaving || cd.life.Err() != nil:
		return nil, errLeaving
	case hello.Node == cl.c.id && cd.endpoint != localEndpoint:
		cd.attempted(errSelf)
		return nil, errSelf
	case old != nil && old.link != nil: // it is up, or the consequences of its end are still to be drawn
		cd.attempted(errAgain)
		return nil, errAgain
	}
	p := cl.peers[hello.Node]
	if p == nil {
		p = &peer{client: cl, id: hello.Node, members: map[uint32]*member{}}
		cl.peers[hello.Node] = p
	}
	p.name, p.host, p.most = hello.Name, cd.name(), int64(min(hello.MaxMessage, 1<<40))
	p.link, p.number, p.up = lk, cl.c.number(linkRef{peer: p, link: lk}), true
	p.seq, p.acked = 0, 0
	p.unsettled, p.calls = ledger{}, map[string]call{}
	if cd.broken != p {
		cl.trying++ // what waits for the old node is not given up before we know of the new one
		cd.abandon(&told)
		cl.trying--
	}
	cd.broken = nil
	p.resume(hello.Sources, &told)
	cd.attempted(nil)
	cl.sweep(&told)
	return p, nil
}

// attempted notes that an attempt is over. client.mu is held.
func (cd *candidate) attempted(err error) {
	cl := cd.client
	if cl.candidates[cd.endpoint] != cd && !cd.tried {
		return // stop forgot it
	}
	cd.why = err
	if !cd.tried {
		cd.tried = true
		cl.trying--
	}
	cl.announce()
}

// sweep ends what waits in pools where nobody is or is expected any more.
// client.mu is held.
func (cl *client) sweep(told *outcomes) {
	if cl.trying > 0 {
		return
	}
	for _, rt := range cl.routes {
		for _, p := range rt.pools {
			if !p.waits() {
				cl.giveUp(p, told)
				cl.routes.tidy(p)
			}
		}
	}
}

// failed notes that an attempt failed.
func (cd *candidate) failed(err error) {
	cl := cd.client
	var told outcomes
	cl.mu.Lock()
	if !errors.Is(err, errSelf) && !errors.Is(err, errAgain) {
		cd.attempted(err)
	}
	// A hang-up without a word may be a proxy whose backend is about to come back.
	absent := link.IsAbsent(err) && !errors.Is(err, link.ErrHungUp)
	if cd.broken != nil && (absent || time.Since(cd.since) > repairTime) {
		cd.abandon(&told)
	}
	cl.sweep(&told)
	cl.mu.Unlock()
	told.tell()
	if errors.Is(err, link.ErrHungUp) && !errors.Is(context.Cause(cd.life), context.Canceled) {
		if _, ok := cl.c.noise.Allow(); ok {
			cl.c.log.Warn("patchbay: an endpoint hung up at once", "endpoint", cd.endpoint, "error", err)
		}
	}
}

// abandon gives up the peer whose link it could not repair, unless another
// candidate did. client.mu is held.
func (cd *candidate) abandon(told *outcomes) {
	if cd.broken != nil && !cd.broken.up {
		cd.broken.end(told)
	}
	cd.broken = nil
}

// gone ends the candidate.
func (cd *candidate) gone() {
	cl := cd.client
	cd.end()
	var told outcomes
	cl.mu.Lock()
	cd.abandon(&told)
	if cl.candidates[cd.endpoint] == cd { // else stop forgot it
		cd.attempted(errLeaving)
		delete(cl.candidates, cd.endpoint)
		cl.sweep(&told)
		if cl.on {
			cl.pursue() // it may have been listed anew meanwhile
		}
	}
	cl.mu.Unlock()
	told.tell()
}

// probe starts the node's links and waits for the first attempts. It fails if no
// endpoint can be used.
func (cl *client) probe(ctx context.Context) error {
	cl.mu.Lock()
	cl.start()
	cl.mu.Unlock()
	late := time.NewTimer(cl.c.o.link.Handshake + time.Second) // what takes longer does not keep the others waiting
	defer late.Stop()
	over := false
	for {
		cl.mu.Lock()
		trying, changed := cl.trying, cl.changed
		var err error
		if over = over || trying == 0; over {
			err = cl.verdict(ctx)
		}
		cl.mu.Unlock()
		if over {
			return err
		}
		select {
		case <-changed:
		case <-late.C:
			over = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// verdict judges the first attempts. mu is held.
func (cl *client) verdict(ctx context.Context) error {
	var errs []error
	absent := len(cl.candidates) == 0
	for _, cd := range cl.candidates {
		switch {
		case !cd.tried:
			errs = append(errs, &messaging.OpError{Op: "linking to", Addr: cd.name(), Err: link.ErrSilent})
		case cd.why == nil:
			return nil
		case link.IsAbsent(cd.why) || errors.Is(cd.why, errSelf) || errors.Is(cd.why, errAgain) || errors.Is(cd.why, errLeft):
			absent = true
		default:
			errs = append(errs, cd.problem())
		}
	}
	err := errors.Join(errs...)
	switch {
	case absent && !errors.Is(err, messaging.ErrAuth):
		return nil // nobody is there yet
	case ctx.Err() != nil:
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// problem is why the candidate is not linked. client.mu is held.
func (cd *candidate) problem() error {
	return &messaging.OpError{Op: "linking to", Addr: cd.name(), Err: cd.why}
}

// noRoute is ErrNoRoute, with what is wrong with an endpoint where somebody is, but
// cannot be linked to. mu is held.
func (cl *client) noRoute() error {
	for _, cd := range cl.candidates {
		silent := cd.why == nil || link.IsAbsent(cd.why) && !errors.Is(cd.why, link.ErrHungUp)
		if !silent && !errors.Is(cd.why, errSelf) && !errors.Is(cd.why, errAgain) && !errors.Is(cd.why, errLeft) {
			return fmt.Errorf("%w, as far as can be seen: %v", messaging.ErrNoRoute, cd.problem()) //nolint:errorlint // it is the outcome of a send, not of a connection
		}
	}
	return messaging.ErrNoRoute
}
