// Package all names every driver of this module. It is for tools and for the
// first five minutes: a service that knows its transports makes a
// messaging.Registry of its own, and its binary holds those drivers only.
package all

import (
	"context"
	"strings"

	"github.com/patchbay-go/patchbay/drivers/amqp1"
	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/gossip"
	"github.com/patchbay-go/patchbay/drivers/zmq/discovery/redis"
	"github.com/patchbay-go/patchbay/messaging"
)

// Registry returns a registry of all drivers. Each call makes a new in-memory
// broker for "fake": transports see each other if the same Registry opened them.
// "kombu" is oslo.messaging's other name for "rabbit".
func Registry() messaging.Registry {
	return messaging.Registry{
		"amqp1":  amqp1.Open,
		"fake":   fake.New(nil).Open,
		"kombu":  kombu,
		"rabbit": rabbit.Open,
		"zmq":    zmq.Opener(redis.Backend(), gossip.Backend()),
	}
}

// Open opens a transport with a Registry of its own; see messaging.Registry.Open.
func Open(ctx context.Context, url string, opts *messaging.Options) (*messaging.Transport, error) {
	return Registry().Open(ctx, url, opts)
}

func kombu(u *messaging.URL, opts *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
	asRabbit := *u
	asRabbit.Scheme = "rabbit" + strings.TrimPrefix(u.Scheme, "kombu")
	return rabbit.Open(&asRabbit, opts)
}
