// Package quickstart holds the program of the README, so that it compiles and
// prints what the README says.
package quickstart

import (
	"context"
	"fmt"
	"log"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

type DeleteVolume struct {
	ID string `json:"volume_id"`
}

func Example() {
	ctx := context.Background()
	t, err := all.Open(ctx, "fake://", nil) // or "rabbit://user:password@host:5672/"
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close(ctx)

	endpoint := &rpc.Endpoint{Version: "1.15"}
	rpc.Handle(endpoint, "delete_volume", func(_ context.Context, v DeleteVolume) (string, error) {
		return "deleted " + v.ID, nil
	})
	server, err := rpc.NewServer(t, messaging.Target{Topic: "volume", Server: "host1"}, []*rpc.Endpoint{endpoint}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Start(ctx); err != nil { // in a main function: server.Serve(ctx)
		log.Fatal(err)
	}
	defer server.Wait(ctx) // stops it, and returns when all that is in hand is done

	client := rpc.NewClient(t, messaging.Target{Topic: "volume", Version: "1.0"}, nil)
	done, err := rpc.CallFor[string](ctx, client, "delete_volume", DeleteVolume{ID: "v-42"})
	fmt.Println(done, err)

	err = client.Prepare(rpc.WithServer("host2"), rpc.WithMandatory(true)).Cast(ctx, "delete_volume", DeleteVolume{ID: "v-43"})
	fmt.Println(err)
	// Output:
	// deleted v-42 <nil>
	// casting "delete_volume" on server "host2" of topic "volume": no route: nobody listens there
}
