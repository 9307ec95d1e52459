package zmq_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq"
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
