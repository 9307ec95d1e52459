package messaging

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"
)

// Options are what an application decides about a Transport beside its URL.
// The zero value of each field means its default; a negative number switches
// the thing off where that makes sense. A nil *Options is all defaults.
type Options struct {
	// Name is what connections are called in the peer's management views.
	// Default: the program's name and process id.
	Name string

	// Logger gets reconnects, drops and what was abandoned, nothing else.
	// Default: slog.Default.
	Logger *slog.Logger

	// Trace is told what happens. Default: nothing is.
	Trace *Trace

	// Credentials is asked before every dial, and so may rotate them. Default:
	// those of the host in the URL. It may be called concurrently.
	Credentials func(ctx context.Context, host HostPort) (Credentials, error)

	// TLS is used by the "+tls" schemes, cloned for each host with its name to
	// verify. Default: the system's roots.
	TLS *tls.Config

	// MaxConns bounds the connections for sending. One is opened at first, and
	// another only while all are busy. Default: 4.
	MaxConns int

	// ConnIdle is how long a connection for sending that is not the first may
	// be idle before it is closed. Default: 5 minutes; negative: for ever.
	ConnIdle time.Duration

	// DialTimeout bounds one attempt to connect to one host. Default: 10 s;
	// negative: the driver's bounds alone.
	DialTimeout time.Duration

	// BackoffMin and BackoffMax bound the waits between rounds of attempts to
	// connect over all hosts, and between retries of a send. A wait is random
	// between 0 and a bound that doubles from min to max ("full jitter").
	// Defaults: 100 ms and 5 s.
	BackoffMin time.Duration
	BackoffMax time.Duration

	// Window is how many sends of one connection may wait for their outcome.
	// Default: 256.
	Window int

	// Dedup is how many message ids each Stream remembers to drop duplicates.
	// Default: 4096; negative: none.
	Dedup int

	// MaxMessage bounds a received body, after decompression, in bytes. What
	// is larger is dropped. Default: 64 MiB.
	MaxMessage int64

	// ReplyWindow is how long Reply tries to reach a reply address that is not
	// there, because its owner may be reconnecting. Default: 10 s; negative:
	// one attempt.
	ReplyWindow time.Duration
}

// WithDefaults returns a copy of o with every default filled in; o may be nil.
// Openers of drivers get the options like that.
func (o *Options) WithDefaults() *Options {
	var r Options
	if o != nil {
		r = *o
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	if r.Trace == nil {
		r.Trace = &Trace{}
	}
	if r.Name == "" {
		r.Name = processName()
	}
	setDefault(&r.MaxConns, 4)
	setDefault(&r.ConnIdle, 5*time.Minute)
	setDefault(&r.DialTimeout, 10*time.Second)
	setDefault(&r.BackoffMin, 100*time.Millisecond)
	setDefault(&r.BackoffMax, 5*time.Second)
	setDefault(&r.Window, 256)
	setDefault(&r.Dedup, 4096)
	setDefault(&r.MaxMessage, 64<<20)
	setDefault(&r.ReplyWindow, 10*time.Second)
	return &r
}

func setDefault[T int | int64 | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}
