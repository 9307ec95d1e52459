package main

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/patchbay-go/patchbay/bench"
)

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
