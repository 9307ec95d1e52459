package coalesce_test

import (
	"io"
	"net"
	"testing"

	"github.com/patchbay-go/patchbay/internal/coalesce"
)

// BenchmarkWrite compares frames of 100 bytes written to a socket one by one
// with the same through a Conn, alone and from many goroutines.
func BenchmarkWrite(b *testing.B) {
	frame := make([]byte, 100)
	for _, bb := range []struct {
		name string
		wrap func(net.Conn) net.Conn
	}{
		{"direct", func(c net.Conn) net.Conn { return c }},
		{"coalesced", func(c net.Conn) net.Conn { return coalesce.New(c, coalesce.Options{}) }},
	} {
		start := func(b *testing.B) net.Conn {
			client, server := socketPair(b)
			go func() { _, _ = io.Copy(io.Discard, server) }()
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			return bb.wrap(client)
		}
		b.Run(bb.name+"/1", func(b *testing.B) {
			c := start(b)
			defer c.Close()
			for b.Loop() {
				if _, err := c.Write(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bb.name+"/64", func(b *testing.B) {
			c := start(b)
			defer c.Close()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Write(frame); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkPingPong has one message in flight: what the extra goroutine costs
// when there is nothing to gather.
func BenchmarkPingPong(b *testing.B) {
	for _, bb := range []struct {
		name string
		wrap func(net.Conn) net.Conn
	}{
		{"direct", func(c net.Conn) net.Conn { return c }},
		{"coalesced", func(c net.Conn) net.Conn { return coalesce.New(c, coalesce.Options{}) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			client, server := socketPair(b)
			go func() { _, _ = io.Copy(server, server) }()
			c := bb.wrap(client)
			defer c.Close()
			frame := make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(frame); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
