package amqp1

import (
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Hurry makes a driver lose its patience with peers that do not answer sooner than
// its options allow.
func Hurry(d messaging.Driver, patience time.Duration) {
	d.(*driver).patience = patience //nolint:forcetypeassert // Open's
}
