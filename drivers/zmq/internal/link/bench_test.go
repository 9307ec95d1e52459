package link_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/go-zeromq/zmq4"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
)

// The link layer beside the sockets that it stands in for, with one frame of 100
// bytes: go test -run '^$' -bench . -count 5 ./drivers/zmq/internal/link

// pair returns a sender and a receiver of links.
func pair(b *testing.B) (dialled, accepted *link.Link) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	o := options()
	got := make(chan *link.Link)
	over := make(chan struct{})
	s := link.Accept(b.Context(), ln, nil, nil, o, limits(), func(l *link.Link) {
		got <- l
		<-over
		l.Abort(errors.New("over"))
	}, nil)
	if dialled, err = link.Dial(b.Context(), "tcp", s.Addr().String(), nil, nil, &o, nil); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		dialled.Abort(errors.New("over"))
		close(over)
		s.Close()
	})
	return dialled, <-got
}

// sockets returns a DEALER and a ROUTER of zmq4.
func sockets(b *testing.B) (dealer, router zmq4.Socket) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	router, dealer = zmq4.NewRouter(ctx), zmq4.NewDealer(ctx)
	if err := router.Listen("tcp://127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	if err := dealer.Dial("tcp://" + router.Addr().String()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cancel()
		_ = dealer.Close()
		_ = router.Close()
	})
	return dealer, router
}

const frameSize = 100

func BenchmarkOneWay(b *testing.B) {
	b.Run("link", func(b *testing.B) {
		out, in := pair(b)
		message := frames(make([]byte, 24), make([]byte, frameSize-24))
		done := make(chan error, 1)
		b.ReportAllocs()
		b.ResetTimer()
		go func() {
			var m link.Message
			for range b.N {
				if err := in.Read(&m); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for range b.N {
			if err := out.Room(b.Context()); err != nil { // as credits do in the driver
				b.Fatal(err)
			}
			if err := out.Write(message); err != nil {
				b.Fatal(err)
			}
		}
		finish(b, done)
	})
	b.Run("zmq4 sockets", func(b *testing.B) {
		dealer, router := sockets(b)
		done := make(chan error, 1)
		b.ReportAllocs()
		b.ResetTimer()
		go func() {
			for range b.N {
				if _, err := router.Recv(); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		body := make([]byte, frameSize)
		for range b.N {
			if err := dealer.Send(zmq4.NewMsg(body)); err != nil {
				b.Fatal(err)
			}
		}
		finish(b, done)
	})
}

func finish(b *testing.B, done <-chan error) {
	b.Helper()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func BenchmarkRoundTrip(b *testing.B) {
	b.Run("link", func(b *testing.B) {
		out, in := pair(b)
		go func() {
			var m link.Message
			for in.Read(&m) == nil {
				_ = in.Append(frames(m.Head, m.Second))
				in.Kick()
			}
		}()
		message := frames(make([]byte, 24), make([]byte, frameSize-24))
		var m link.Message
		b.ReportAllocs()
		for b.Loop() {
			_ = out.Append(message)
			out.Kick()
			if err := out.Read(&m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("zmq4 sockets", func(b *testing.B) {
		dealer, router := sockets(b)
		go func() {
			for {
				m, err := router.Recv()
				if err != nil {
					return
				}
				_ = router.SendMulti(m)
			}
		}()
		body := make([]byte, frameSize)
		b.ReportAllocs()
		for b.Loop() {
			if err := dealer.Send(zmq4.NewMsg(body)); err != nil {
				b.Fatal(err)
			}
			if _, err := dealer.Recv(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
