package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestBrokerStops: what is pending is unknown, what comes later not sent, and
// everybody who waits is told.
func TestBrokerStops(t *testing.T) {
	b := newBroker(t)
	a := topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, sources(a))
	mustSend(t, out, a, text("x"))
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

	stopped := make(chan error, 1)
	go func() { stopped <- b.StopApp(t.Context()) }()
	defer func() {
		if err := errors.Join(<-stopped, b.StartApp(context.WithoutCancel(t.Context()))); err != nil {
			t.Error(err)
		}
	}()
	var pending []result
	for {
		r := make(result, 1)
		if err := out.Send(t.Context(), a, text("y"), r); err != nil {
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
		case err != nil:
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
	b := newBroker(t)
	a := topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, sources(a))
	mustSend(t, out, a, text("x"))
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
		if took := time.Since(start); took > 10*patience {
			t.Errorf("%s took %v", what, took)
		}
		return err
	}
	var pending []result
	err := bounded("filling the window", func(ctx context.Context) error {
		for {
			r := make(result, 1)
			if err := out.Send(ctx, a, text(string(make([]byte, 100_000))), r); err != nil {
				return err
			}
			pending = append(pending, r)
		}
	})
	wantErr(t, err, messaging.ErrNotSent, context.DeadlineExceeded)
	if len(pending) == 0 {
		t.Error("no message was accepted")
	}
	to := a
	to.Fanout = true
	err = bounded("the first fanout", func(ctx context.Context) error { return out.Send(ctx, to, text("x"), nil) })
	wantErr(t, err, messaging.ErrNotSent, context.DeadlineExceeded)
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
		wantErr(t, r.wait(t), messaging.ErrOutcomeUnknown)
	}
	err = bounded("dialling", func(context.Context) error { _, err := dialURL(t, b.url, patience); return err })
	wantErr(t, err, messaging.ErrConnect, context.DeadlineExceeded)
}

// TestMemoryAlarm: a broker that blocks publishers keeps a send waiting no
// longer than its context, and lets it go on afterwards.
func TestMemoryAlarm(t *testing.T) {
	b := newBroker(t)
	a := topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, sources(a))
	mustSend(t, out, a, text("0"))
	settle(t, poll(t, l), messaging.Ack)

	b.ctl(t, "set_vm_memory_high_watermark", "0.00001")
	defer b.ctl(t, "set_vm_memory_high_watermark", "0.6")
	var pending []result
	for { // until the broker says that we are blocked
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		r := make(result, 1)
		err := out.Send(ctx, a, text("1"), r)
		cancel()
		if err != nil {
			wantErr(t, err, messaging.ErrNotSent, context.DeadlineExceeded)
			if !strings.Contains(err.Error(), "the broker blocks publishers") {
				t.Errorf("%v does not say why", err)
			}
			break
		}
		pending = append(pending, r)
	}
	waiting := make(chan error, 1)
	last := make(result, 1)
	go func() { waiting <- out.Send(t.Context(), a, text("2"), last) }()
	b.ctl(t, "set_vm_memory_high_watermark", "0.6")
	if err := <-waiting; err != nil {
		t.Errorf("Send after the alarm: %v", err)
	}
	for _, r := range append(pending, last) {
		if err := r.wait(t); err != nil {
			t.Errorf("outcome %v", err)
		}
	}
	for range append(pending, last) {
		settle(t, poll(t, l), messaging.Ack)
	}
}

func TestDialErrors(t *testing.T) {
	b := newBroker(t)
	_, at, _ := strings.Cut(b.url, "@")
	host, _, _ := strings.Cut(at, "/")
	silent := silentServer(t)
	tests := []struct {
		name, url string
		want      []error
		not       []error
	}{
		{"wrong password", "rabbit://patchbay:secret@" + at, []error{messaging.ErrAuth, messaging.ErrPermanent}, nil},
		{"wrong password, PLAIN", "rabbit://patchbay:secret@" + at + "?rabbit_login_method=PLAIN", []error{messaging.ErrAuth, messaging.ErrPermanent}, nil},
		{"a mechanism that is not offered", "rabbit://patchbay:secret@" + at + "?rabbit_login_method=EXTERNAL", []error{messaging.ErrAuth, messaging.ErrPermanent}, nil},
		{"no such virtual host", strings.TrimSuffix(b.url, at) + host + "/nowhere", []error{messaging.ErrPermanent}, []error{messaging.ErrAuth}},
		{"nobody there", "rabbit://127.0.0.1:1/", nil, []error{messaging.ErrPermanent}},
		{"hangs up", "rabbit://" + hangsUp(t) + "/", nil, []error{messaging.ErrPermanent, messaging.ErrAuth}},
		{"says nothing", "rabbit://" + silent + "/", []error{context.DeadlineExceeded}, []error{messaging.ErrPermanent}},
		{"says nothing, TLS", "rabbit+tls://" + silent + "/", []error{context.DeadlineExceeded}, []error{messaging.ErrPermanent}},
		{"TLS where there is none", "rabbit+tls://" + at, []error{messaging.ErrPermanent}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := dialURL(t, tt.url, 2*time.Second)
			wantErr(t, err, append(tt.want, messaging.ErrConnect)...)
			for _, not := range tt.not {
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
}
