package amqp1

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/Azure/go-amqp"
)

// endpoint is our end of a link, as its session tells it what happens. It is told by
// the goroutine that reads, which it must not block, without a lock of the session;
// what it is given is valid until it returns.
type endpoint interface {
	// joined: the library is about to attach it. It is told before anything else, by
	// another goroutine, with the session's lock held.
	joined(s *session, handle uint32)
	attached(a attach)
	flowed(w flow)
	received(t transfer, payload []byte) error

	// left: nothing can be written any more. The session's lock is held.
	left()

	// ended: nothing comes any more either. It is told once, after left.
	ended(reason error)

	// block: the session has no room for messages, or has again. Its lock is held.
	block(blocked bool)
}

// session is what both ends of one of the library's sessions know of each other's
// room for messages, and the order of what we write. Its links are all senders, or
// one receiver.
//
// Lock order: a credit's lock before a session's, that before a gate's.
type session struct {
	f       *frames
	channel uint16 // ours

	ours atomic.Bool // it has, or had, links that were announced

	// Of the goroutine that reads.
	links map[uint32]endpoint // by the peer's handle
	done  []outgoing          // whose outcome came

	mu      sync.Mutex // protects what follows, and the order of what is written
	names   map[string]endpoint
	handles map[uint32]endpoint // by our handle; nil: the session is over

	incomingWindow uint32 // what we told the peer
	nextIncoming   uint32 // number of the transfer that comes next
	unannounced    uint32 // transfers since the peer was last told that

	window       uint32 // transfers that the peer has room for
	nextOutgoing uint32
	nextDelivery uint32
	unsettled    unsettled
	waiting      []waiting // for the window
	shut         bool      // it is the library's, and the peer has no room
	blocked      bool      // our senders are, for that

	buf []byte // for frames
}

// newSession returns the session that begins with these fields.
func newSession(f *frames, channel uint16, v fields) *session {
	s := &session{f: f, channel: channel, links: map[uint32]endpoint{}, names: map[string]endpoint{}, handles: map[uint32]endpoint{}}
	v.skip(1)
	s.nextOutgoing, s.incomingWindow = v.next().uint32(), v.next().uint32()
	return s
}

// join adds a link that the library is about to attach.
func (s *session) join(a attach, e endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.joined(s, a.handle)
	if s.handles == nil {
		e.left()
		return
	}
	s.handles[a.handle], s.names[a.name] = e, e
	s.ours.Store(true)
	e.block(s.blocked)
}

// leaves notes that the library detaches a link.
func (s *session) leaves(handle uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.handles[handle]; e != nil {
		e.left()
		delete(s.handles, handle)
	}
}

// leavesAll notes that the library ends the session.
func (s *session) leavesAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.handles {
		e.left()
	}
	s.handles = nil
}

// end tells all links that the session is over.
func (s *session) end(reason error) {
	s.leavesAll()
	s.mu.Lock()
	var all []endpoint
	for _, e := range s.names {
		all = append(all, e)
	}
	clear(s.names)
	s.mu.Unlock()
	for _, e := range all {
		e.ended(reason)
	}
}

// maxLinks bounds what a peer can make us remember besides the links that we attached,
// of which there are as many as somebody waits for.
const maxLinks = 4 * maxLanes

// take is told of a frame for the session, and reports whether it is none of the
// library's.
func (s *session) take(what descriptor, v fields, payload []byte) (bool, error) {
	switch what {
	case performAttach:
		a, err := parseAttach(v)
		if e, asked := s.named(a.name); err == nil && e != nil {
			if len(s.links) >= asked+maxLinks {
				return true, errors.New("the peer attaches more links than it was asked for")
			}
			s.links[a.handle] = e
			e.attached(a)
		}
		return false, err
	case performDetach:
		handle := handleOf(v)
		if e := s.links[handle]; e != nil {
			delete(s.links, handle)
			s.detached(e, remoteError(detachReason(v)))
		}
		return false, nil
	case performFlow:
		return s.flowed(v)
	}
	if !s.ours.Load() {
		return false, nil
	}
	if what == performDisposition {
		return true, s.disposed(v)
	}
	t, err := parseTransfer(v)
	e := s.links[t.handle]
	switch {
	case err != nil:
		return true, err
	case e == nil:
		return false, nil // the library says what is wrong
	}
	s.mu.Lock()
	s.nextIncoming++
	if s.unannounced++; s.unannounced >= s.incomingWindow/2 {
		s.writeFlow(flow{})
	}
	s.mu.Unlock()
	return true, e.received(t, payload)
}

// named returns our link of that name, if there is one, and how many we attached.
func (s *session) named(name string) (e endpoint, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[name], len(s.names)
}

// detached tells a link that the peer ended it, or heard that we did.
func (s *session) detached(e endpoint, reason error) {
	s.mu.Lock()
	for handle, other := range s.handles {
		if other == e {
			delete(s.handles, handle)
		}
	}
	told := true
	for name, other := range s.names {
		if other == e {
			delete(s.names, name)
			told = false
		}
	}
	e.left()
	s.mu.Unlock()
	if !told {
		e.ended(reason)
	}
}

// flowed is told what the peer has room for.
func (s *session) flowed(v fields) (bool, error) {
	w, err := parseFlow(v)
	if !s.ours.Load() {
		s.mu.Lock()
		s.shut = err == nil && w.incomingWindow == 0
		s.mu.Unlock()
		return false, nil
	}
	if err != nil {
		return true, err
	}
	s.mu.Lock()
	s.window = room(w.incomingWindow, w.nextIncoming, s.nextOutgoing)
	done := s.catchUp(s.done[:0])
	if w.echo && !w.link {
		s.writeFlow(flow{})
	}
	s.mu.Unlock()
	s.finish(done)
	if e := s.links[w.handle]; w.link && e != nil {
		e.flowed(w)
	}
	return true, nil
}

// room returns what is left of what a peer allowed when it had seen all before one
// number, since we are at another. It may allow all that a number can say.
func room(allowed, seen, at uint32) uint32 {
	if !before(seen, at) {
		return allowed
	}
	return allowed - min(allowed, at-seen)
}

// writeFlow tells the peer what we have room for: of the session, and what else w
// says. s.mu is held.
func (s *session) writeFlow(w flow) {
	w.nextIncoming, w.incomingWindow = s.nextIncoming, s.incomingWindow
	w.nextOutgoing, w.outgoingWindow = s.nextOutgoing, s.incomingWindow
	s.unannounced = 0
	s.buf = appendFlow(s.buf[:0], s.channel, w)
	_, _ = s.f.Conn.Write(s.buf) // it fails with the connection only
}

// errDetached: the peer ended a link, and did not say why.
var errDetached = errors.New("the peer detached the link")

// remoteError returns the reason that a peer gave, as the library would.
func remoteError(said *amqp.Error) error {
	if said == nil {
		return errDetached
	}
	return said
}
