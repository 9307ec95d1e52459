package rabbit

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/messaging"
)

var epoch = time.Unix(1e9, 0)

// reads returns what a session that begins now makes of messages, each of which is
// its offset.
func reads(p *position, offsets ...int64) []standing {
	var all []standing
	for _, o := range offsets {
		all = append(all, p.read(p.turn, o, fmt.Append(nil, o)))
	}
	return all
}

// from begins a session and returns where it reads.
func from(p *position, now time.Time) any {
	from, _ := p.begin(now)
	return from
}

// waits reports whether the session has not seen yet that this is its stream.
func waits(p *position) bool { return p.expected != nil }

func TestPositionBegins(t *testing.T) {
	p := newPosition()
	if at := from(p, epoch); at != "next" || waits(p) {
		t.Errorf("at first it reads from %v", at)
	}
	if at := from(p, epoch.Add(time.Hour)); at != epoch || waits(p) {
		t.Errorf("when nothing has come yet it reads from %v", at)
	}
	reads(p, 7, 8, 9)
	if at := from(p, epoch); at != int64(7) || !waits(p) {
		t.Errorf("when nothing is settled it reads from %v", at)
	}
	if d := cmp.Diff([]standing{openBefore, openBefore, openBefore, isNew}, reads(p, 7, 8, 9, 10)); d != "" {
		t.Errorf("messages that were open (-want +got):\n%s", d)
	}
	p.settle(p.turn, 8)
	p.settle(p.turn, 7)
	p.settle(p.turn, 10)
	if at := from(p, epoch); at != int64(8) || !waits(p) {
		t.Errorf("it reads from %v, want the last one below which all are settled", at)
	}
	want := []standing{settledBefore, openBefore, settledBefore, isNew}
	if d := cmp.Diff(want, reads(p, 8, 9, 10, 11)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if waits(p) {
		t.Error("it waits although its stream is known")
	}
}

// TestPositionInAnotherStream: the message where it was is another one.
func TestPositionInAnotherStream(t *testing.T) {
	p := newPosition()
	p.begin(epoch)
	reads(p, 0, 1, 2)
	for i := range int64(3) {
		p.settle(p.turn, i)
	}
	p.begin(epoch)
	if got := p.read(p.turn, 2, []byte("another")); got != foreign {
		t.Errorf("another message at the same offset is %v", got)
	}
	if got := p.read(p.turn-1, 3, []byte("3")); got != stale {
		t.Errorf("what the session still gets is %v", got)
	}
	p.settle(p.turn-1, 0)
	if at := from(p, epoch); at != "first" || waits(p) {
		t.Errorf("after a restart it reads from %v", at)
	}
	if d := cmp.Diff([]standing{isNew, isNew}, reads(p, 0, 1)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if at := from(p, epoch); at != int64(0) {
		t.Errorf("then it reads from %v", at)
	}
}

// TestPositionGivesUp: nothing comes from where it was.
func TestPositionGivesUp(t *testing.T) {
	p := newPosition()
	_, first := p.begin(epoch)
	if p.giveUp(first) {
		t.Error("a session that waits for nothing gives up")
	}
	reads(p, 5)
	_, second := p.begin(epoch)
	if p.giveUp(first) {
		t.Error("a session gives up for another")
	}
	if !p.giveUp(second) {
		t.Error("nothing came, and it waits")
	}
	if got := p.read(second, 5, []byte("5")); got != stale {
		t.Errorf("what comes too late is %v", got)
	}
	if at := from(p, epoch); at != "first" {
		t.Errorf("then it reads from %v", at)
	}
}

// TestPositionPastRetention: what is not kept any more is passed over.
func TestPositionPastRetention(t *testing.T) {
	p := newPosition()
	p.begin(epoch)
	reads(p, 3)
	p.settle(p.turn, 3)
	p.begin(epoch)
	if d := cmp.Diff([]standing{isNew, isNew}, reads(p, 100, 101)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestPositionRemembersWhatIsOpen, and nothing else: one message that takes for ever
// does not make it remember all that were settled since.
func TestPositionRemembersWhatIsOpen(t *testing.T) {
	p := newPosition()
	from(p, epoch)
	reads(p, 0, 1)
	for o := int64(2); o < 10_000; o++ {
		reads(p, o)
		p.settle(p.turn, o)
	}
	if n := len(p.open); n != 2 {
		t.Errorf("it remembers %d, of which 2 are open", n)
	}
	p.settle(p.turn, 1)
	if at := from(p, epoch); at != int64(0) {
		t.Errorf("it reads from %v, want the one that is open", at)
	}
	p.settle(p.turn, 0)
	if at := from(p, epoch); at != int64(9_999) {
		t.Errorf("it reads from %v, want the last one", at)
	}
}

// TestPositionLosesNothing: whatever is settled in whatever order, over whatever
// number of sessions, each message is delivered until it is settled, and not after.
func TestPositionLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPosition()
		p.begin(epoch)
		end := int64(rapid.IntRange(1, 30).Draw(t, "messages"))
		settled := map[int64]bool{}
		inHand := []int64{}
		at := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0: // the link is lost
				inHand = nil
				switch first := from(p, epoch).(type) {
				case int64:
					at = first
				default:
					at = 0
				}
			case 1, 2: // one more comes
				if at == end {
					continue
				}
				switch got := p.read(p.turn, at, fmt.Append(nil, at)); got {
				case foreign:
					t.Fatalf("%d is of another stream", at)
				case settledBefore:
					if !settled[at] {
						t.Fatalf("%d was passed over, and is not settled", at)
					}
				default:
					if settled[at] {
						t.Fatalf("%d was delivered although it is settled", at)
					}
					inHand = append(inHand, at)
				}
				at++
			default: // one is settled
				if len(inHand) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(inHand)-1).Draw(t, "which")
				settled[inHand[i]] = true
				p.settle(p.turn, inHand[i])
				inHand = append(inHand[:i], inHand[i+1:]...)
			}
		}
		if len(p.open) > int(end) {
			t.Fatalf("%d are remembered of %d", len(p.open), end)
		}
	})
}

// TestSettlingWhatAnotherStreamHad: a stream that is deleted and made again while its
// channel stays open has the same offsets. Who still handles a message of the old one
// settles none of the new one.
func TestSettlingWhatAnotherStreamHad(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &conn{raw: coalesce.New(ours, coalesce.Options{})}
	defer c.raw.Abort()
	p := newPosition()
	s := &session{c: c, s: &source{kept: &kept{position: p}}, stream: &readings{all: map[uint64]turned{}}, flushed: func() {}}
	consume := func() {
		_, turn := p.begin(epoch)
		s.stream.turn.Store(turn)
	}
	arrive := func(tag uint64, body string) *messaging.Delivery {
		a := &arrival{tag: tag, Message: messaging.Message{Body: []byte(body)}}
		d := messaging.NewDelivery(a.Message, s)
		d.Tag = tag
		if !s.read(a, d) {
			t.Fatalf("%q is not delivered", body)
		}
		return d
	}
	consume()
	old := arrive(1, "old")
	p.restart()
	consume()
	arrive(2, "new")
	s.settleReading(old, messaging.Ack)
	_, turn := p.begin(epoch)
	if got := p.read(turn, 0, []byte("new")); got != openBefore {
		t.Errorf("what was not settled is %d over the next channel, want %d", got, openBefore)
	}
}

// noSocket is a connection that is not there.
type noSocket struct{}

func (noSocket) Err() error             { return nil }
func (noSocket) Stalled() time.Duration { return 0 }
func (noSocket) Abort()                 {}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(&options{transientTTL: time.Minute})
	dead, alive := &conn{}, &conn{}
	dead.Begin(t.Context(), "", noSocket{}, explain)
	dead.Fail(errLaneClosed)
	now := time.Now()
	a := m.of("a", dead)
	m.of("b", alive)
	if again := m.of("a", dead); again != a {
		t.Error("what was kept is forgotten at once")
	}
	m.sweep(now)
	m.sweep(now.Add(30 * time.Second))
	if len(m.kept) != 2 {
		t.Errorf("%d are kept, want both", len(m.kept))
	}
	m.sweep(now.Add(2 * time.Minute))
	if _, ok := m.kept["b"]; !ok || len(m.kept) != 1 {
		t.Errorf("kept are %v, want only what listens", m.kept)
	}
	m.forget("b")
	if len(m.kept) != 0 {
		t.Errorf("kept are %v", m.kept)
	}
}
