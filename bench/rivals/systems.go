package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/go-zeromq/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/messaging"
)

// apart is what is measured in two processes.
type apart struct{}

// InMemory implements bench.System.
func (apart) InMemory(*bench.Spec) bool { return false }

func addressOf(s *bench.Spec) string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// pending matches replies to calls by a number before the body.
type pending struct {
	next  atomic.Uint64
	mu    sync.Mutex
	calls map[uint64]chan struct{}
	pool  sync.Pool
	err   chan struct{}
}

func newPending() *pending {
	p := &pending{calls: map[uint64]chan struct{}{}, err: make(chan struct{})}
	p.pool.New = func() any { return make(chan struct{}, 1) }
	return p
}

var errGone = errors.New("the connection is gone")

func (p *pending) do(send func(id uint64) error) error {
	id := p.next.Add(1)
	ch := p.pool.Get().(chan struct{})
	p.mu.Lock()
	p.calls[id] = ch
	p.mu.Unlock()
	if err := send(id); err != nil {
		return err
	}
	select {
	case <-ch:
		p.pool.Put(ch)
		return nil
	case <-p.err:
		return errGone
	}
}

func (p *pending) done(id uint64) {
	p.mu.Lock()
	ch := p.calls[id]
	delete(p.calls, id)
	p.mu.Unlock()
	if ch != nil {
		ch <- struct{}{}
	}
}

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

// rawTCP is a frame behind its length on a TCP connection whose writes are
// coalesced: the floor of what a network costs.
type rawTCP struct{ apart }

// Serve implements bench.System.
func (rawTCP) Serve(_ context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	ln, err := net.Listen("tcp", addressOf(s))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				out := coalesce.New(nc, coalesce.Options{})
				defer out.Abort()
				_ = readFrames(nc, func(f []byte) error {
					t.Add()
					if s.Pattern != bench.Call {
						return nil
					}
					_, err := out.Write(f)
					return err
				})
			}()
		}
	}()
	return bench.CloserFunc(func(context.Context) error { return ln.Close() }), nil
}

// readFrames calls f with each frame, its length included.
func readFrames(r io.Reader, f func([]byte) error) error {
	buf := make([]byte, 0, 64<<10)
	for {
		for len(buf) >= 4 {
			n := 4 + int(binary.BigEndian.Uint32(buf))
			if len(buf) < n {
				if cap(buf) < n {
					buf = append(make([]byte, 0, 2*n), buf...)
				}
				break
			}
			if err := f(buf[:n]); err != nil {
				return err
			}
			buf = buf[n:]
		}
		if cap(buf)-len(buf) < 4<<10 {
			buf = append(make([]byte, 0, max(64<<10, 2*len(buf))), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return err
		}
		buf = buf[:len(buf)+n]
	}
}

// Dial implements bench.System.
func (rawTCP) Dial(ctx context.Context, s *bench.Spec) (bench.Client, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addressOf(s))
	if err != nil {
		return nil, err
	}
	c := &tcpClient{out: coalesce.New(nc, coalesce.Options{}), pending: newPending(), call: s.Pattern == bench.Call, size: s.Size}
	go func() {
		defer close(c.err)
		_ = readFrames(nc, func(f []byte) error { c.done(binary.BigEndian.Uint64(f[4:])); return nil })
	}()
	return c, nil
}

type tcpClient struct {
	*pending
	out  *coalesce.Conn
	call bool
	size int
}

func (c *tcpClient) send(id uint64) error {
	var room [1024]byte
	b := binary.BigEndian.AppendUint32(room[:0], uint32(8+c.size))
	b = binary.BigEndian.AppendUint64(b, id)
	_, err := c.out.Write(append(b, make([]byte, c.size)...))
	return err
}

// Do implements bench.Client.
func (c *tcpClient) Do(context.Context) error {
	if !c.call {
		return c.send(0)
	}
	return c.do(c.send)
}

// Close implements bench.Client.
func (c *tcpClient) Close(context.Context) error { return c.out.Close() }

// unary is gRPC with bodies of bytes, so that no code of protobuf is measured.
type unary struct{ apart }

type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = bytesCodec{}

// Serve implements bench.System.
func (unary) Serve(_ context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	ln, err := net.Listen("tcp", addressOf(s))
	if err != nil {
		return nil, err
	}
	srv := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}))
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Echo",
			Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in := new([]byte)
				if err := dec(in); err != nil {
					return nil, err
				}
				t.Add()
				return in, nil
			},
		}},
	}, new(any))
	go func() { _ = srv.Serve(ln) }()
	return bench.CloserFunc(func(context.Context) error { srv.Stop(); return nil }), nil
}

// Dial implements bench.System.
func (unary) Dial(_ context.Context, s *bench.Spec) (bench.Client, error) {
	if s.Pattern != bench.Call {
		return nil, fmt.Errorf("%w: gRPC has calls only", bench.ErrSpec)
	}
	conn, err := grpc.NewClient("passthrough:///"+addressOf(s), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	if err != nil {
		return nil, err
	}
	return &grpcClient{conn: conn, body: make([]byte, s.Size)}, nil
}

type grpcClient struct {
	conn *grpc.ClientConn
	body []byte
}

// Do implements bench.Client.
func (c *grpcClient) Do(ctx context.Context) error {
	var out []byte
	return c.conn.Invoke(ctx, "/bench.Echo/Echo", &c.body, &out)
}

// Close implements bench.Client.
func (c *grpcClient) Close(context.Context) error { return c.conn.Close() }

// driver is the zmq driver below the core: messages without RPC, each with its
// credit and its acknowledgement.
type driver struct{ apart }

func (driver) dial(ctx context.Context, s *bench.Spec) (messaging.Conn, error) {
	u, err := messaging.ParseURL(s.URL)
	if err != nil {
		return nil, err
	}
	d, _, err := zmq.Open(u, &messaging.Options{Logger: slog.Default(), Window: highWater})
	if err != nil {
		return nil, err
	}
	return d.Dial(ctx, messaging.Endpoint{
		Name: "bench", Host: u.Hosts[0].HostPort(), Hosts: []messaging.HostPort{u.Hosts[0].HostPort()},
		Credentials: func(context.Context) (messaging.Credentials, error) { return messaging.Credentials{}, nil },
	})
}

// highWater is how many messages may be under way: what libzmq's default is.
const highWater = 1000

func topicOf(s *bench.Spec) messaging.Address { return messaging.Target{Topic: s.Topic}.Address() }

// Serve implements bench.System.
func (y driver) Serve(ctx context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	c, err := y.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	l, err := c.Listen(ctx, messaging.Subscription{Sources: []messaging.Address{topicOf(s)}, Prefetch: highWater})
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	life := context.WithoutCancel(ctx)
	go func() {
		for {
			d, err := l.Poll(life)
			if err != nil {
				return
			}
			t.Add()
			_ = d.Settle(life, messaging.Ack)
			if d.ReplyTo != "" {
				to := messaging.Address{Kind: messaging.KindReply, Direct: d.ReplyTo}
				_ = c.Send(life, to, &messaging.Message{CorrelationID: d.CorrelationID, Body: d.Body}, nil)
			}
		}
	}()
	return c, nil
}

// Dial implements bench.System.
func (y driver) Dial(ctx context.Context, s *bench.Spec) (bench.Client, error) {
	conn, err := y.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	c := &driverClient{Conn: conn, pending: newPending(), call: s.Pattern == bench.Call, to: topicOf(s), body: make([]byte, s.Size)}
	if !c.call {
		return c, nil
	}
	l, err := conn.Listen(ctx, messaging.Subscription{Reply: "here", Prefetch: 1024})
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	life := context.WithoutCancel(ctx)
	go func() {
		defer close(c.err)
		for {
			d, err := l.Poll(life)
			if err != nil {
				return
			}
			id, _ := strconv.ParseUint(d.CorrelationID, 10, 64) // our own
			c.done(id)
		}
	}()
	return c, nil
}

type driverClient struct {
	messaging.Conn
	*pending
	call bool
	to   messaging.Address
	body []byte
}

// Do implements bench.Client.
func (c *driverClient) Do(ctx context.Context) error {
	if !c.call {
		return c.Send(ctx, c.to, &messaging.Message{Body: c.body}, nil)
	}
	return c.do(func(id uint64) error {
		return c.Send(ctx, c.to, &messaging.Message{CorrelationID: strconv.FormatUint(id, 10), ReplyTo: "here", Body: c.body}, nothing{})
	})
}

// nothing is told outcomes that nobody asks for.
type nothing struct{}

func (nothing) Complete(error) {}
