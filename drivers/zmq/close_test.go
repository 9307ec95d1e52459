package zmq_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/messaging"
)

// patientQuery lets a peer take an hour for its greeting.
const patientQuery = "connect_timeout=3600&heartbeat_interval=0.05&heartbeat_timeout=3600"

// soon fails the test unless something ends before long.
func soon(t *testing.T, what string, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(limit):
		t.Fatalf("%s does not end", what)
		return nil
	}
}

// TestCloseWithMuteStranger: a stranger who speaks ZMTP and does not say who he is keeps
// no node from closing.
func TestCloseWithMuteStranger(t *testing.T) {
	url := nodesURL(t, 1, patientQuery)
	u, err := messaging.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	node := dial(t, url)
	member(t, node, "s", 1)
	stranger, err := net.Dial("tcp", u.Hosts[0].HostPort().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Write(append(greeting(), ready("")...)); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for !bytes.Contains(said, []byte("PING")) { // his link is there
		var b [1]byte
		if _, err := io.ReadFull(stranger, b[:]); err != nil {
			t.Fatal(err)
		}
		said = append(said, b[0])
	}
	closed := make(chan error, 1)
	go func() { closed <- node.Close(context.Background()) }()
	if err := soon(t, "Close", closed); err != nil {
		t.Error(err)
	}
}

// TestDialMuteNode: a node that speaks ZMTP and does not say who it is, as another
// program's socket, keeps nobody who gives up.
func TestDialMuteNode(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, giveUp := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	o := link.Options{MaxMessage: 1 << 20, Handshake: limit, Heartbeat: limit, Silence: limit, WriteTimeout: limit}
	other := link.Accept(t.Context(), ln, nil, nil, o, link.Limits{Links: 1, PerHost: 1, Handshakes: 1}, func(lk *link.Link) {
		defer func() { _ = lk.Close() }()
		var m link.Message
		for lk.Read(&m) == nil {
			giveUp(enough) // what came is a greeting
		}
	}, nil)
	t.Cleanup(other.Close)
	u, err := messaging.ParseURL("zmq://" + ln.Addr().String() + "/?" + patientQuery)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := zmq.Open(u, quiet().WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	dialled := make(chan error, 1)
	go func() {
		_, err := d.Dial(ctx, messaging.Endpoint{Name: t.Name(), Hosts: []messaging.HostPort{u.Hosts[0].HostPort()}})
		dialled <- err
	}()
	if err := soon(t, "Dial", dialled); !errors.Is(err, messaging.ErrConnect) || !errors.Is(err, enough) {
		t.Errorf("%v, want %v and %v", err, messaging.ErrConnect, enough)
	}
}

// late is a discovery that takes its time to register, whatever the context says.
type late struct {
	asked, answer chan struct{}
	released      atomic.Bool
}

func (d *late) Register(context.Context, string) (discovery.Lease, error) {
	close(d.asked)
	<-d.answer
	return d, nil
}

func (d *late) Release(context.Context) error {
	d.released.Store(true)
	return nil
}

func (d *late) Watch(_ context.Context, see func([]string)) error {
	see(nil)
	return nil
}

func (d *late) Close(context.Context) error { return nil }

// TestCloseWhileRegistering: a node that is closed while it makes itself known
// leaves no registration behind.
func TestCloseWhileRegistering(t *testing.T) {
	d := &late{asked: make(chan struct{}), answer: make(chan struct{})}
	backend := discovery.Backend{Name: "late", Configure: func(*messaging.URL, *messaging.OptionReader) discovery.Connector {
		return func(context.Context, discovery.Config) (discovery.Discovery, error) { return d, nil }
	}}
	u, err := messaging.ParseURL("zmq:///?discovery=late&bind=127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	driver, _, err := zmq.Opener(backend)(u, quiet().WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	node, err := driver.Dial(t.Context(), messaging.Endpoint{Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	listened, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := node.Listen(t.Context(), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}, Prefetch: 1})
		listened <- err
	}()
	<-d.asked
	go func() { closed <- node.Close(context.Background()) }()
	select {
	case err := <-closed:
		closed <- err
		t.Error("Close has ended before the registration did")
	case <-time.After(50 * time.Millisecond): // what is shown is that nothing happens meanwhile
	}
	close(d.answer)
	if err := soon(t, "Listen", listened); !errors.Is(err, messaging.ErrConnLost) {
		t.Errorf("Listen = %v, want %v", err, messaging.ErrConnLost)
	}
	if err := soon(t, "Close", closed); err != nil {
		t.Error(err)
	}
	if !d.released.Load() {
		t.Error("the registration stays")
	}
}
