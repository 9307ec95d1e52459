package conformance_test

import (
	"bufio"
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

// door is where strangers come to the in-memory driver, which has no network of its
// own: it reads what they say, and each defect is what that may do to the others.
type door struct {
	defect string
	ln     net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex // protects the following
	inside  map[net.Conn]byte
	changed chan struct{}
}

// What strangers say at the door: a first byte of every hello, and a second one.
const (
	sayHello     = 0xff
	sayOversized = 1
	sayIdentity  = 2
)

func openDoor(t *testing.T, defect string) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{defect: defect, ln: ln, inside: map[net.Conn]byte{}, changed: make(chan struct{})}
	d.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			d.note(nc, 0)
			d.wg.Go(func() { d.hear(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		d.mu.Lock()
		for nc := range d.inside {
			nc.Close()
		}
		d.mu.Unlock()
		d.wg.Wait()
	})
	return d
}

func (d *door) note(nc net.Conn, says byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside[nc] = says
	close(d.changed)
	d.changed = make(chan struct{})
}

// hear listens to one stranger until he leaves or is sent away.
func (d *door) hear(nc net.Conn) {
	defer func() {
		nc.Close()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.inside, nc)
		close(d.changed)
		d.changed = make(chan struct{})
	}()
	in := bufio.NewReader(nc)
	first, err := in.ReadByte()
	if err != nil {
		return
	}
	if first == sayHello {
		second, err := in.ReadByte()
		if err != nil {
			return
		}
		d.note(nc, second)
		if second == sayIdentity || d.defect == "trusts_announced_sizes" {
			_, _ = in.ReadByte()
			return
		}
	}
	if d.defect == "keeps_what_it_cannot_read" {
		_, _ = bufio.NewReader(nc).ReadBytes(0) // until he leaves
		for {
			if _, err := in.ReadByte(); err != nil {
				return
			}
		}
	}
}

// holds reports whether a stranger who says that is inside.
func (d *door) holds(says byte) (bool, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.inside {
		if s == says {
			return true, d.changed
		}
	}
	return false, d.changed
}

// guarded is a driver that suffers from the defect.
type guarded struct {
	messaging.Driver
	door *door
}

func (g *guarded) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	c, err := g.Driver.Dial(ctx, ep)
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: c, door: g.door}, nil
}

type guardedConn struct {
	messaging.Conn
	door *door
}

func (c *guardedConn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	waitsFor := map[string]byte{"waits_for_slow_strangers": 0, "trusts_announced_sizes": sayOversized}
	if says, ok := waitsFor[c.door.defect]; ok {
		for {
			there, changed := c.door.holds(says)
			if !there {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return messaging.ErrNotSent
			}
		}
	}
	if there, _ := c.door.holds(sayIdentity); there && c.door.defect == "answers_whoever_has_the_name" && to.Kind == messaging.KindReply {
		done.Complete(nil) // the stranger has it
		return nil
	}
	return c.Conn.Send(ctx, to, m, done)
}

// TestHostileMutants: the cases about strangers, each with a driver that lets them
// do harm, and one that does not.
func TestHostileMutants(t *testing.T) {
	for defect, kills := range map[string][]string{
		"":                             nil,
		"keeps_what_it_cannot_read":    {"garbage_before_handshake", "oversized_frame_does_not_panic"},
		"waits_for_slow_strangers":     {"slow_loris_handshake"},
		"trusts_announced_sizes":       {"oversized_frame_does_not_panic"},
		"answers_whoever_has_the_name": {"duplicate_identity"},
	} {
		t.Run(defect, func(t *testing.T) {
			d := openDoor(t, defect)
			broker := fake.New(nil)
			open := func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
				driver, codecs, err := broker.Open(u, o)
				return &guarded{Driver: driver, door: d}, codecs, err
			}
			h := conformance.FromURL(messaging.Registry{"fake": open}, "fake://", nil)
			h.Scale = 0.1
			h.Strangers = conformance.Strangers{
				Endpoints: []string{d.ln.Addr().String()}, Oversized: []byte{sayHello, sayOversized}, Identity: []byte{sayHello, sayIdentity},
			}
			r, err := conformance.Check(t.Context(), h, conformance.Options{Run: "garbage|slow_loris|oversized_frame|duplicate_identity"})
			if err != nil {
				t.Fatal(err)
			}
			var failed []string
			for _, c := range r.Cases {
				if c.Outcome != conformance.Pass {
					failed = append(failed, c.ID)
				}
			}
			slices.Sort(failed)
			if diff := cmp.Diff(kills, failed); diff != "" {
				t.Errorf("(-want +failed):\n%s", diff)
				for _, c := range r.Cases {
					t.Logf("%s %s: %.300s", c.Outcome, c.ID, c.Reason)
				}
			}
		})
	}
}
