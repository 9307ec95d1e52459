package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Add are the arguments of the method "add".
type Add struct{ X, Y int }

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	registry := messaging.Registry{"fake": fake.New(nil).Open}
	transport, err := registry.Open(ctx, "fake://", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer transport.Close(ctx)

	ep := &rpc.Endpoint{Version: "1.1"}
	rpc.Handle(ep, "add", func(_ context.Context, a Add) (int, error) { return a.X + a.Y, nil })
	server, err := rpc.NewServer(transport, messaging.Target{Topic: "calc", Server: "host1"}, []*rpc.Endpoint{ep}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer server.Wait(ctx)

	client := rpc.NewClient(transport, messaging.Target{Topic: "calc", Version: "1.0"}, nil)
	sum, err := rpc.CallFor[int](ctx, client, "add", Add{X: 2, Y: 3})
	fmt.Println(sum, err)

	err = client.Call(ctx, "divide", Add{X: 2, Y: 3}, nil)
	fmt.Println(errors.Is(err, rpc.ErrNoSuchMethod))
	// Output:
	// 5 <nil>
	// true
}

// open returns a transport in memory and servers of topic "volume" on it, and
// what ends them.
func open(ctx context.Context, ep *rpc.Endpoint, opts *rpc.ServerOptions, servers ...string) (*messaging.Transport, func()) {
	transport, err := messaging.Registry{"fake": fake.New(nil).Open}.Open(ctx, "fake://", nil)
	if err != nil {
		log.Fatal(err)
	}
	var started []*rpc.Server
	for _, name := range servers {
		s, err := rpc.NewServer(transport, messaging.Target{Topic: "volume", Server: name}, []*rpc.Endpoint{ep}, opts)
		if err == nil {
			err = s.Start(ctx)
		}
		if err != nil {
			log.Fatal(err)
		}
		started = append(started, s)
	}
	return transport, func() {
		for _, s := range started {
			_ = s.Wait(ctx)
		}
		_ = transport.Close(ctx)
	}
}

func ExampleClient_Fanout() {
	ctx := context.Background()
	refreshed := make(chan bool)
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "refresh", func(context.Context, rpc.None) (rpc.None, error) {
		refreshed <- true
		return rpc.None{}, nil
	})
	transport, end := open(ctx, ep, nil, "host1", "host2", "host3")
	defer end()

	client := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, nil)
	if err := client.Fanout(ctx, "refresh", nil); err != nil {
		log.Fatal(err)
	}
	for range 3 {
		fmt.Println(<-refreshed)
	}
	// Output:
	// true
	// true
	// true
}

func ExampleClient_Prepare() {
	ctx := context.Background()
	ep := &rpc.Endpoint{}
	rpc.HandleRaw(ep, "whoami", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) {
		return json.Marshal(r.Target.Server)
	})
	transport, end := open(ctx, ep, nil, "host1", "host2")
	defer end()

	client := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, nil)
	for _, server := range []string{"host2", "host1"} {
		name, err := rpc.CallFor[string](ctx, client.Prepare(rpc.WithServer(server)), "whoami", nil)
		fmt.Println(name, err)
	}
	err := client.Prepare(rpc.WithServer("host3"), rpc.WithMandatory(true)).Call(ctx, "whoami", nil, nil)
	fmt.Println(errors.Is(err, messaging.ErrNoRoute))
	// Output:
	// host2 <nil>
	// host1 <nil>
	// true
}

var errNotFound = errors.New("not found")

func ExampleErrorMap() {
	ctx := context.Background()
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "get", func(context.Context, rpc.None) (string, error) {
		return "", rpc.NewError("cinder.exception", "VolumeNotFound", "no volume 7")
	})
	transport, end := open(ctx, ep, nil, "host1")
	defer end()

	client := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, &rpc.ClientOptions{
		Errors: rpc.ErrorMap{"cinder.exception.VolumeNotFound": errNotFound}.Lookup,
	})
	err := client.Call(ctx, "get", nil, nil)
	fmt.Println(errors.Is(err, errNotFound), err)

	var remote *rpc.RemoteError
	fmt.Println(errors.As(err, &remote), remote.Module, remote.Class)
	// Output:
	// true calling "get" on topic "volume": VolumeNotFound: no volume 7
	// true cinder.exception VolumeNotFound
}

func ExampleMiddleware() {
	ctx := context.Background()
	logged := func(next rpc.Invoker) rpc.Invoker {
		return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
			result, err := next(ctx, r)
			fmt.Printf("%s: %s %s = %s, %v\n", r.Side, r.Pattern, r.Method, result, err)
			return result, err
		}
	}
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "size", func(context.Context, rpc.None) (int, error) { return 7, nil })
	transport, end := open(ctx, ep, &rpc.ServerOptions{Middleware: []rpc.Middleware{logged}}, "host1")
	defer end()

	client := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, &rpc.ClientOptions{Middleware: []rpc.Middleware{logged}})
	if err := client.Call(ctx, "size", nil, nil); err != nil {
		log.Fatal(err)
	}
	// Output:
	// server: call size = 7, <nil>
	// client: call size = 7, <nil>
}

func ExampleNewContext() {
	ctx := context.Background()
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "whose", func(ctx context.Context, _ rpc.None) (string, error) {
		var user string
		_, err := rpc.Value(ctx, "user_id", &user)
		return user, err
	})
	transport, end := open(ctx, ep, nil, "host1")
	defer end()

	client := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, nil)
	user, err := rpc.CallFor[string](rpc.NewContext(ctx, "user_id", "u1"), client, "whose", nil)
	fmt.Println(user, err)
	// Output: u1 <nil>
}
