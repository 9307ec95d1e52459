package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/internal/coalesce"
)

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
