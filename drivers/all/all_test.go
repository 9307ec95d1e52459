package all_test

import (
	"context"
	"errors"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/messaging"
)

var topic = messaging.Address{Topic: "volume"}

func open(t *testing.T, r messaging.Registry, url string) *messaging.Transport {
	t.Helper()
	tr, err := r.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func TestEveryDriverOpensWithoutABroker(t *testing.T) {
	for _, url := range []string{"fake://", "rabbit://localhost/", "rabbit+tls://localhost/", "kombu://localhost/", "kombu+tls://localhost/", "amqp1://localhost/", "amqp1+tls://localhost/"} {
		t.Run(url, func(t *testing.T) { open(t, all.Registry(), url) })
	}
}

func TestUnknownScheme(t *testing.T) {
	_, err := all.Open(t.Context(), "carrier-pigeon://", nil)
	if !errors.Is(err, messaging.ErrInvalidURL) {
		t.Errorf("error %v, want %v", err, messaging.ErrInvalidURL)
	}
}

// TestOneRegistryIsOneBroker: transports of one Registry see each other, those
// of two do not.
func TestOneRegistryIsOneBroker(t *testing.T) {
	registry := all.Registry()
	if _, err := open(t, registry, "fake://").Listen(t.Context(), messaging.Subscription{Sources: []messaging.Address{topic}}); err != nil {
		t.Fatal(err)
	}
	mandatory := &messaging.SendOptions{Mandatory: true}
	send := func(tr *messaging.Transport) error {
		return tr.Send(t.Context(), topic, &messaging.Envelope{Method: "m", Body: []byte("{}")}, mandatory)
	}
	if err := send(open(t, registry, "fake://")); err != nil {
		t.Errorf("the same registry: %v", err)
	}
	if err := send(open(t, all.Registry(), "fake://")); !errors.Is(err, messaging.ErrNoRoute) {
		t.Errorf("another registry: %v, want %v", err, messaging.ErrNoRoute)
	}
}
