package zmq

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// session is a link that somebody opened to us: requests come over it, and their
// replies and outcomes go back. Its key is that it is this link; what the peer
// calls itself is for logs.
type session struct {
	server *server
	link   *link.Link
	number uint64 // for reply addresses
	name   string
	local  bool // it is our own other half

	over    chan struct{} // closed when the link has ended; made by greet
	waiters atomic.Int32  // replies that wait for the peer to read
	open    atomic.Int64  // requests that were taken in and are not settled

	mu       sync.Mutex // protects the following, and the order of what is written
	received uint64     // the last request that was taken in
	told     uint64     // up to which the peer knows
	settled  []byte     // outcomes that the peer does not know yet
	armed    bool       // the timer will tell
	timer    *time.Timer
	ended    bool
	scratch  []byte
}

const (
	// lazily is how long outcomes may wait for something else to go with.
	lazily = time.Millisecond

	// farewellTime bounds the wait for a peer to hang up after it was told goodbye.
	farewellTime = time.Second

	// patient is how many replies may wait for a peer that reads nothing before more
	// of them are refused: each holds one of the server's workers.
	patient     = 16
	patientTime = time.Second
)

// large is from which size on a body is not copied once more to be written with
// its frames.
const large = 16 << 10

// keepScratch bounds the buffers that are kept for the next frames.
const keepScratch = 64 << 10

// greet exchanges greetings.
func (ss *session) greet() (*proto.HelloBody, error) {
	ss.over = make(chan struct{})
	greeted := hurry(ss.server.life, ss.link, &ss.server.c.o.link)
	theirs, err := receiveHello(ss.link)
	greeted()
	if err != nil {
		return nil, err
	}
	if _, err := ss.server.admit(ss); err != nil {
		return nil, err
	}
	return theirs, nil
}

// turnBack notes that there is no room for a request. The listener's lock is held,
// so that the peer hears of this before it hears of room.
func (ss *session) turnBack(seq uint64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.settled = proto.AppendSettled(ss.settled, seq, proto.Full)
	ss.received = seq
}

// settle notes the outcome of a request, and reports whether the link is there. The
// peer is told at once when it may wait for that: there is nothing of its else here,
// or a quarter of what it may send has gathered. A reply that is about to be sent
// takes the outcome along.
func (ss *session) settle(d *delivery, o proto.Outcome) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ended {
		return false
	}
	open := ss.open.Add(-1)
	ss.settled = proto.AppendSettled(ss.settled, d.seq, o)
	gathered := len(ss.settled) >= proto.SettledSize*min(maxGathered, max(1, d.source.limit()/4))
	if gathered || open <= 0 && d.message.ReplyTo == "" {
		ss.flush()
	} else {
		ss.arm()
	}
	return true
}

// maxGathered bounds the outcomes that one message tells.
const maxGathered = 256

// arm makes sure that what the peer does not know is told before long. mu is held.
func (ss *session) arm() {
	if ss.armed || ss.ended {
		return
	}
	ss.armed = true
	if ss.timer == nil {
		ss.timer = time.AfterFunc(lazily, ss.fire)
		return
	}
	ss.timer.Reset(lazily)
}

func (ss *session) fire() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.armed = false
	ss.flush()
}

// flush tells the peer what it does not know. mu is held.
func (ss *session) flush() {
	if b := ss.pending(ss.scratch[:0]); len(b) > 0 && !ss.ended {
		ss.send(b)
	}
}

// pending appends the frames that tell the peer what it does not know: outcomes
// first, since a request that was turned back counts as received else. mu is held.
func (ss *session) pending(b []byte) []byte {
	if len(ss.settled) > 0 {
		head := proto.Head{Kind: proto.Settled}
		b = head.Append(link.AppendFrameHeader(b, proto.HeadSize, true))
		b = link.AppendFrame(b, ss.settled, false)
		ss.settled = ss.settled[:0]
	}
	if ss.told < ss.received {
		head := proto.Head{Kind: proto.Received, Seq: ss.received}
		b = head.Append(link.AppendFrameHeader(b, proto.HeadSize, false))
		ss.told = ss.received
	}
	return b
}

// send writes frames. mu is held.
func (ss *session) send(b []byte, more ...[]byte) {
	_ = ss.link.Write(append([][]byte{b}, more...)...) // its reader tells of a broken link
	if cap(b) <= keepScratch {
		ss.scratch = b
	}
}

// write writes a message of one frame, or of two.
func (ss *session) write(head proto.Head, second []byte) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	b := ss.pending(ss.scratch[:0])
	b = head.Append(link.AppendFrameHeader(b, proto.HeadSize, second != nil))
	if second != nil {
		b = link.AppendFrame(b, second, false)
	}
	ss.send(b)
}

// answer sends a message to a reply address of the peer. It waits, under ctx,
// while the peer leaves too much unread.
func (ss *session) answer(ctx context.Context, to string, m *messaging.Message) error {
	n := ss.waiters.Add(1)
	defer ss.waiters.Add(-1)
	if n > patient && ss.link.Stalled() > patientTime {
		return refusedReply("the caller does not read its replies")
	}
	if err := ss.link.Room(ctx); err != nil {
		if ctx.Err() != nil {
			return notSent(fmt.Errorf("waiting for the caller to read: %w", err))
		}
		return refusedReply("the caller's link was lost")
	}
	ss.mu.Lock()
	if ss.ended {
		ss.mu.Unlock()
		return refusedReply("the caller's link was lost")
	}
	b := ss.pending(ss.scratch[:0])
	b = appendReply(b, to, m)
	var err error
	if len(m.Body) <= large {
		b = append(b, m.Body...)
		err = ss.link.Append(b)
	} else {
		err = ss.link.Append(b, m.Body)
	}
	if cap(b) <= keepScratch {
		ss.scratch = b
	}
	ss.mu.Unlock()
	if err != nil {
		return refusedReply("the caller's link was lost")
	}
	ss.link.Kick()
	return nil
}

// appendReply appends all of a reply but its body.
func appendReply(b []byte, to string, m *messaging.Message) []byte {
	head := proto.Head{Kind: proto.Reply}
	b = head.Append(link.AppendFrameHeader(b, proto.HeadSize, true))
	var room [512]byte
	b = link.AppendFrame(b, proto.AppendProps(room[:0], to, m), true)
	return link.AppendFrameHeader(b, len(m.Body), false)
}

// farewell says that we leave. The peer hangs up when it has read that, and all
// that was written before.
func (ss *session) farewell() {
	head := proto.Head{Kind: proto.Bye}
	ss.write(head, []byte("leaving"))
}

// await waits until the peer hung up, but not for long.
func (ss *session) await(ctx context.Context) {
	timer := time.NewTimer(farewellTime)
	defer timer.Stop()
	select {
	case <-ss.over:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	_ = ss.link.Close()
	<-ss.over
}

// end notes that the link is over.
func (ss *session) end() {
	ss.mu.Lock()
	ss.ended = true
	if ss.timer != nil {
		ss.timer.Stop()
	}
	ss.mu.Unlock()
	close(ss.over)
}
