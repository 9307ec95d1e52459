package messaging

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Opener makes a driver for a URL, and the codecs that it speaks, its default
// first. It opens no connection. It checks all of the URL's options and the
// part of the scheme behind "+"; its errors match ErrInvalidURL. opts has its
// defaults filled in.
type Opener func(u *URL, opts *Options) (Driver, []Codec, error)

// Registry maps the scheme of a transport URL, up to "+", to an Opener. It is
// a value that the application makes: nothing registers itself.
type Registry map[string]Opener

// Open returns a Transport for the URL. It opens no connection, so it works
// while a broker is down; Transport.Connect does, for who wants to know. ctx
// bounds Open itself, not the transport's life. opts may be nil.
//
// Errors match ErrInvalidURL and never hold a password.
func (r Registry) Open(ctx context.Context, rawURL string, opts *Options) (*Transport, error) {
	if err := ctx.Err(); err != nil {
		return nil, &OpError{Op: "opening a transport", Err: err}
	}
	u, err := ParseURL(rawURL)
	if err != nil {
		return nil, &OpError{Op: "opening a transport", Err: err}
	}
	return r.OpenURL(ctx, u, opts)
}

// OpenURL is Open with a URL that was parsed, or made, before. It keeps u, which
// must not be changed then.
func (r Registry) OpenURL(ctx context.Context, u *URL, opts *Options) (*Transport, error) {
	if err := ctx.Err(); err != nil {
		return nil, &OpError{Op: "opening a transport", Err: err}
	}
	name, _, _ := strings.Cut(u.Scheme, "+")
	open, ok := r[name]
	if !ok {
		return nil, &OpError{Op: "opening a transport", Err: r.unknownScheme(u.Scheme)}
	}
	o := opts.WithDefaults()
	d, codecs, err := open(u, o)
	if err != nil {
		return nil, &OpError{Op: "opening a transport", Err: err}
	}
	return NewTransport(d, codecs, u, o)
}

func (r Registry) unknownScheme(scheme string) error {
	known := strings.Join(slices.Sorted(maps.Keys(r)), ", ")
	if scheme == "amqp" || scheme == "amqps" {
		tls := ""
		if scheme == "amqps" {
			tls = "+tls"
		}
		return fmt.Errorf("%w: %q may mean two protocols; say rabbit%s:// for AMQP 0-9-1 (RabbitMQ) or amqp1%s:// for AMQP 1.0 (known here: %s)",
			ErrInvalidURL, scheme, tls, tls, known)
	}
	return fmt.Errorf("%w: no driver for scheme %q (known here: %s)", ErrInvalidURL, scheme, known)
}
