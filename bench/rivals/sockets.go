package main

import (
	"context"
	"encoding/binary"

	"github.com/go-zeromq/zmq4"

	"github.com/patchbay-go/patchbay/bench"
)

// sockets are zmq4's own: a ROUTER and a DEALER.
type sockets struct{ apart }

// Serve implements bench.System.
func (sockets) Serve(ctx context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	sock := zmq4.NewRouter(ctx)
	if err := sock.Listen("tcp://" + addressOf(s)); err != nil {
		cancel()
		return nil, err
	}
	go func() {
		for {
			m, err := sock.Recv()
			if err != nil {
				return
			}
			t.Add()
			if s.Pattern == bench.Call {
				if err := sock.SendMulti(m); err != nil {
					return
				}
			}
		}
	}()
	return bench.CloserFunc(func(context.Context) error { cancel(); _ = sock.Close(); return nil }), nil // it reports connections that are closed already
}

// Dial implements bench.System.
func (sockets) Dial(ctx context.Context, s *bench.Spec) (bench.Client, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	sock := zmq4.NewDealer(ctx)
	if err := sock.Dial("tcp://" + addressOf(s)); err != nil {
		cancel()
		return nil, err
	}
	c := &socketClient{sock: sock, cancel: cancel, pending: newPending(), call: s.Pattern == bench.Call, body: make([]byte, s.Size)}
	if c.call {
		go func() {
			defer close(c.err)
			for {
				m, err := sock.Recv()
				if err != nil {
					return
				}
				c.done(binary.BigEndian.Uint64(m.Frames[0]))
			}
		}()
	}
	return c, nil
}

type socketClient struct {
	*pending
	sock   zmq4.Socket
	cancel context.CancelFunc
	call   bool
	body   []byte
}

// Do implements bench.Client.
func (c *socketClient) Do(context.Context) error {
	if !c.call {
		return c.sock.Send(zmq4.NewMsg(c.body))
	}
	return c.do(func(id uint64) error {
		return c.sock.SendMulti(zmq4.NewMsgFrom(binary.BigEndian.AppendUint64(nil, id), c.body))
	})
}

// Close implements bench.Client.
func (c *socketClient) Close(context.Context) error { c.cancel(); _ = c.sock.Close(); return nil }
