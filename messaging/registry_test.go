package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

func TestRegistryOpen(t *testing.T) {
	open := func(u *URL, o *Options) (Driver, []Codec, error) {
		if o.Window != 256 || o.Logger == nil || o.Trace == nil {
			t.Errorf("an Opener gets options with defaults, not %+v", o)
		}
		r := u.Options()
		r.Bool("amqp_durable_queues", false)
		return &script{caps: allCaps}, []Codec{plain{}}, r.Err()
	}
	reg := Registry{"rabbit": open, "fake": open}
	tests := []struct {
		url  string
		says []string // parts of the error; none: it opens
	}{
		{url: "rabbit://u:secret@h:1/v?amqp_durable_queues=true"},
		{url: "RABBIT+TLS://h"},
		{"rabbit://u:secret@h/?durable=1", []string{"durable", "amqp_durable_queues"}},
		{"rabbit://u:secret@h/?amqp_durable_queues=perhaps", []string{"amqp_durable_queues"}},
		{"kafka://u:secret@h", []string{`"kafka"`, "fake, rabbit"}},
		{"amqp://u:secret@h", []string{"rabbit://", "amqp1://"}},
		{"amqps://u:secret@h", []string{"rabbit+tls://", "amqp1+tls://"}},
		{"u:secret@h", []string{"scheme"}},
		{"rabbit://u:secret@h:port", []string{"port"}},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			tr, err := reg.Open(t.Context(), tt.url, nil)
			if len(tt.says) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if err := tr.Close(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			wantIs(t, err, ErrInvalidURL)
			for _, part := range append(tt.says, "opening a transport") {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v holds the password", err)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := reg.Open(ctx, "fake://", nil)
		wantIs(t, err, context.Canceled)
	})
}

func TestCredentialsHideThePassword(t *testing.T) {
	c := Credentials{"user", "secret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		if s := fmt.Sprintf(verb, c) + fmt.Sprintf(verb, struct{ C Credentials }{c}); strings.Contains(s, "secret") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

func TestErrorsMatch(t *testing.T) {
	err := error(&OpError{Op: "casting to", Addr: topic.String(), Err: fmt.Errorf("%w: %w", ErrNotSent, context.Canceled)})
	wantIs(t, err, ErrNotSent, context.Canceled)
	if got, want := err.Error(), `casting to topic "volume": not sent: context canceled`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	wantIs(t, ErrTimeout, context.DeadlineExceeded)
	pre := &PreconditionError{Entity: "queue", Name: "volume", Argument: "durable", Reason: "inequivalent arg"}
	wantIs(t, pre, ErrPermanent)
	for _, part := range []string{"volume", "durable", "same options"} {
		if !strings.Contains(pre.Error(), part) {
			t.Errorf("%v does not say %q", pre, part)
		}
	}
	if errors.Is(pre, ErrNotSent) {
		t.Error("a precondition is no outcome")
	}
}

func TestOptionsDefaults(t *testing.T) {
	o := (*Options)(nil).WithDefaults()
	if o.MaxConns != 4 || o.DialTimeout != 10*time.Second || o.Dedup != 4096 || o.Name == "" {
		t.Errorf("got %+v", o)
	}
	given := &Options{Dedup: -1, MaxConns: 9}
	if o := given.WithDefaults(); o.Dedup != -1 || o.MaxConns != 9 || given.Window != 0 {
		t.Errorf("got %+v from %+v", o, given)
	}
}
