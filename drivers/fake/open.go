package fake

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// Open is a messaging.Opener for this broker.
func (b *Broker) Open(u *messaging.URL, opts *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
	if _, extension, ok := strings.Cut(u.Scheme, "+"); ok {
		return nil, nil, fmt.Errorf("%w: the fake driver has no %q", messaging.ErrInvalidURL, "+"+extension)
	}
	if u.VirtualHost != "" {
		return nil, nil, fmt.Errorf("%w: the fake driver has no virtual hosts: make another Broker", messaging.ErrInvalidURL)
	}
	options := u.Options()
	preferred := options.Enum("wire", "native", "native", "oslo")
	if err := options.Err(); err != nil {
		return nil, nil, err
	}
	codecs := []messaging.Codec{wire.Native(opts.MaxMessage), wire.Oslo(opts.MaxMessage)}
	if preferred == "oslo" {
		slices.Reverse(codecs)
	}
	return b.Driver(opts), codecs, nil
}
