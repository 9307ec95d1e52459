package rpc_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// benchBus returns a client and serves ep, in memory, over the wire given.
func benchBus(b *testing.B, codec messaging.Codec, opts *rpc.ServerOptions) *rpc.Client {
	b.Helper()
	ctx := context.WithoutCancel(b.Context())
	broker := fake.New(nil)
	open := func() *messaging.Transport {
		registry := messaging.Registry{"fake": func(_ *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
			return broker.Driver(o), []messaging.Codec{codec}, nil
		}}
		t, err := registry.Open(ctx, "fake://", &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = t.Close(ctx) })
		return t
	}
	s, err := rpc.NewServer(open(), messaging.Target{Topic: "volume", Server: "s1"}, []*rpc.Endpoint{demo()}, opts)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Wait(ctx) })
	return rpc.NewClient(open(), messaging.Target{Topic: "volume", Version: "1.0"}, nil)
}

// BenchmarkCall is a typed call in memory: all that the framework does, on both
// sides.
func BenchmarkCall(b *testing.B) {
	for _, bb := range []struct {
		name  string
		codec messaging.Codec
		opts  *rpc.ServerOptions
	}{
		{"native", wire.Native(0), nil},
		{"native/blocking", wire.Native(0), &rpc.ServerOptions{Executor: rpc.Blocking()}},
		{"oslo", wire.Oslo(0), nil},
	} {
		b.Run(bb.name, func(b *testing.B) {
			c := benchBus(b, bb.codec, bb.opts)
			b.ReportAllocs()
			for b.Loop() {
				if n, err := rpc.CallFor[int](b.Context(), c, "add", addArgs{2, 3}); err != nil || n != 5 {
					b.Fatal(n, err)
				}
			}
		})
		b.Run(bb.name+"/parallel", func(b *testing.B) {
			c := benchBus(b, bb.codec, bb.opts)
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if n, err := rpc.CallFor[int](b.Context(), c, "add", addArgs{2, 3}); err != nil || n != 5 {
						b.Error(n, err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkCast is a typed cast that waits for its outcome.
func BenchmarkCast(b *testing.B) {
	c := benchBus(b, wire.Native(0), nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Cast(b.Context(), "nothing", nil); err != nil {
			b.Fatal(err)
		}
	}
}
