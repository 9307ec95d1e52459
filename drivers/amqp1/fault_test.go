package amqp1_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestBrokerKilled: what is pending is unknown, what comes later not sent, and
// everybody who waits is told.
func TestBrokerKilled(t *testing.T) {
	for _, b := range []*broker{newArtemis(t), newRabbitMQ(t, "4.3")} {
		t.Run(b.column, func(t *testing.T) { killed(t, b) })
	}
}

func killed(t *testing.T, b *broker) {
	a := topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, sources(a))
	mustSend(t, out, a, body("x"))
	inHand := poll(t, l)
	polled := make(chan error, 1)
	go func() {
		for {
			if _, err := l.Poll(t.Context()); err != nil {
				polled <- err
				return
			}
		}
	}()

	killed := make(chan error, 1)
	go func() { killed <- b.Kill(t.Context()) }()
	defer func() {
		if err := errors.Join(<-killed, b.Start(context.WithoutCancel(t.Context()))); err != nil {
			t.Error(err)
		}
	}()
	var pending []result
	for {
		r := make(result, 1)
		if err := out.Send(t.Context(), a, body("y"), r); err != nil {
			wantErr(t, err, messaging.ErrNotSent, messaging.ErrConnLost)
			break
		}
		pending = append(pending, r)
	}
	unknown := 0
	for _, r := range pending {
		switch err := r.wait(t); {
		case errors.Is(err, messaging.ErrOutcomeUnknown):
			unknown++
		case err != nil && !errors.Is(err, messaging.ErrNotSent):
			t.Fatalf("outcome %v", err)
		}
	}
	t.Logf("%d sent, %d of unknown outcome", len(pending), unknown)
	for _, c := range []messaging.Conn{in, out} {
		<-c.Done()
		wantErr(t, c.Err(), messaging.ErrConnLost)
	}
	wantErr(t, <-polled, messaging.ErrConnLost)
	_, err := l.Poll(t.Context())
	wantErr(t, err, messaging.ErrConnLost)
	wantErr(t, inHand.Settle(t.Context(), messaging.Ack), messaging.ErrConnLost)
	_, err = in.Listen(t.Context(), sources(a))
	wantErr(t, err, messaging.ErrConnLost)
}

// TestFrozenBroker: nothing waits for a broker that does not answer longer than
// its context.
func TestFrozenBroker(t *testing.T) {
	for _, b := range []*broker{newBrokerJ(t), newRabbitMQ(t, "4.3")} {
		t.Run(b.column, func(t *testing.T) { freeze(t, b) })
	}
}

func freeze(t *testing.T, b *broker) {
	a := topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, sources(a))
	mustSend(t, out, a, body("x"))
	inHand := poll(t, l)
	if err := b.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Unpause(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()

	const patience = 300 * time.Millisecond
	bounded := func(what string, f func(ctx context.Context) error) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		start := time.Now()
		err := f(ctx)
		if took := time.Since(start); took > 20*patience {
			t.Errorf("%s took %v", what, took)
		}
		return err
	}
	var pending []result
	err := bounded("filling the window", func(ctx context.Context) error {
		for {
			r := make(result, 1)
			if err := out.Send(ctx, a, body(string(make([]byte, 100_000))), r); err != nil {
				return err
			}
			pending = append(pending, r)
		}
	})
	wantErr(t, err, messaging.ErrNotSent, context.DeadlineExceeded)
	if len(pending) == 0 {
		t.Error("no message was accepted")
	}
	if err := bounded("settling", func(ctx context.Context) error { return inHand.Settle(ctx, messaging.Requeue) }); err != nil {
		t.Errorf("Settle = %v", err)
	}
	err = bounded("listening", func(ctx context.Context) error { _, err := in.Listen(ctx, sources(topic())); return err })
	wantErr(t, err, context.DeadlineExceeded)
	err = bounded("stopping", func(ctx context.Context) error { _, err := l.Stop(ctx); return err })
	wantErr(t, err, context.DeadlineExceeded)
	err = bounded("closing the listener", l.Close)
	wantErr(t, err, context.DeadlineExceeded)
	for _, c := range []messaging.Conn{out, in} {
		if err := bounded("closing", c.Close); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	for _, r := range pending {
		if err := r.wait(t); !errors.Is(err, messaging.ErrOutcomeUnknown) && !errors.Is(err, messaging.ErrNotSent) {
			t.Errorf("outcome %v", err)
		}
	}
	err = bounded("dialling", func(context.Context) error { _, err := dialURL(t, b.url, patience); return err })
	wantErr(t, err, messaging.ErrConnect, context.DeadlineExceeded)
}

// dialError is an attempt to connect that fails.
type dialError struct {
	name, url string
	want      []error
	not       []error
	within    time.Duration
}

func (d dialError) check(t *testing.T) {
	t.Run(d.name, func(t *testing.T) {
		_, err := dialURL(t, d.url, d.within)
		wantErr(t, err, append(d.want, messaging.ErrConnect)...)
		for _, not := range d.not {
			if errors.Is(err, not) {
				t.Errorf("error %q matches %q", err, not)
			}
		}
		if s := fmt.Sprint(err); strings.Contains(s, "secret") {
			t.Errorf("the error tells the password: %s", s)
		}
		t.Log(err)
	})
}

func TestDialErrors(t *testing.T) {
	permanent := []error{messaging.ErrPermanent}
	refused := []error{messaging.ErrAuth, messaging.ErrPermanent}
	silent := silentServer(t)
	for _, d := range []dialError{
		{"nobody there", "amqp1://127.0.0.1:1/", nil, permanent, limit},
		{"hangs up", "amqp1://u:secret@" + hangsUp(t) + "/", nil, refused, limit},
		{"says nothing", "amqp1://u:secret@" + silent + "/", []error{context.DeadlineExceeded}, permanent, 500 * time.Millisecond},
		{"says nothing, TLS", "amqp1+tls://u:secret@" + silent + "/", []error{context.DeadlineExceeded}, permanent, 500 * time.Millisecond},
		{"speaks something else", "amqp1://u:secret@" + speaks(t, "HTTP/1.1 400 Bad Request\r\n\r\n") + "/", permanent, nil, limit},
		{"speaks AMQP 0-9-1", "amqp1://u:secret@" + speaks(t, "AMQP\x00\x00\x09\x01") + "/", permanent, nil, limit},
	} {
		d.check(t)
	}
	for _, b := range []*broker{newBrokerJ(t), newArtemis(t), newRabbitMQ(t, "4.3")} {
		credentials, at, _ := strings.Cut(b.url, "@")
		host := b.host(t)
		dialError{"wrong password", "amqp1://patchbay:secret@" + at, refused, nil, limit}.check(t)
		dialError{"a mechanism that is not offered", b.url + "?sasl_mechanisms=EXTERNAL", refused, nil, limit}.check(t)
		if b.column != "Artemis" { // which waits for more of the handshake, and knows no virtual hosts
			dialError{"TLS where there is none", "amqp1+tls://u:secret@" + host + "/", permanent, nil, limit}.check(t)
			dialError{"no such virtual host", credentials + "@" + host + "/nowhere", nil, []error{messaging.ErrAuth}, limit}.check(t)
		}
	}
}
