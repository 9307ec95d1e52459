package messaging_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		s := &script{dial: func(int, Endpoint) error {
			if down {
				return fmt.Errorf("%w: refused", ErrConnect)
			}
			return nil
		}}
		setDown := func(v bool) { s.mu.Lock(); down = v; s.mu.Unlock() }
		tr := s.open(t, "script://u:secret@host:1/", nil)
		if h := tr.Health(); h.Err != nil || h.Sending != 0 || len(h.Streams) != 0 {
			t.Errorf("a new transport: %+v", h)
		}
		listen(t, tr)
		if err := tr.Send(t.Context(), topic, &Envelope{}, nil); err != nil {
			t.Fatal(err)
		}
		h := tr.Health()
		if h.Err != nil || h.Sending != 1 || len(h.Streams) != 1 || !h.Streams[0].Listening || h.Streams[0].Connects != 1 {
			t.Errorf("in use: %+v", h)
		}

		setDown(true)
		for i := range 2 {
			s.conn(i).cut()
		}
		_ = tr.Send(within(t, time.Minute), topic, &Envelope{}, nil)
		h = tr.Health()
		wantIs(t, h.Err, ErrConnect)
		if h.Sending != 0 || h.Streams[0].Listening || h.Streams[0].Err == nil || time.Since(h.Streams[0].Since) < 59*time.Second {
			t.Errorf("cut off: %+v", h)
		}
		for _, part := range []string{"connecting to send", `topic "volume"`, "refused"} {
			if !strings.Contains(h.Err.Error(), part) {
				t.Errorf("%v does not say %q", h.Err, part)
			}
		}
		if strings.Contains(fmt.Sprintf("%+v", h), "secret") {
			t.Errorf("%+v holds the password", h)
		}

		setDown(false)
		if err := tr.Send(within(t, time.Minute), topic, &Envelope{}, nil); err != nil {
			t.Fatal(err)
		}
		elapse(10 * time.Second)
		if h := tr.Health(); h.Err != nil || h.Sending != 1 || !h.Streams[0].Listening || h.Streams[0].Connects != 2 {
			t.Errorf("back again: %+v", h)
		}
		_ = tr.Close(t.Context())
		wantIs(t, tr.Health().Err, ErrClosed)
	})
}

// A server that waits for its first connection is not ready.
func TestHealthBeforeTheFirstConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		s := &script{dial: func(int, Endpoint) error {
			if down {
				return fmt.Errorf("%w: refused", ErrConnect)
			}
			return nil
		}}
		tr := s.open(t, "script://host:1/", &Options{BackoffMax: time.Second})
		began := time.Now()
		ctx, giveUp := context.WithCancel(t.Context())
		for _, end := range []func(){giveUp, func() { s.mu.Lock(); down = false; s.mu.Unlock() }} {
			over := make(chan struct{})
			go func() {
				defer close(over)
				_, _ = tr.Listen(ctx, Subscription{Sources: []Address{topic}})
			}()
			elapse(10 * time.Second)
			h := tr.Health()
			wantIs(t, h.Err, ErrConnect)
			if len(h.Streams) != 1 || h.Streams[0].Listening || h.Streams[0].Connects != 0 || h.Streams[0].Since.Before(began) {
				t.Errorf("without a broker: %+v", h)
			}
			end()
			<-over
			if h := tr.Health(); h.Err != nil {
				t.Errorf("nobody listens, or somebody does, and %v", h.Err)
			}
			ctx = t.Context()
		}
		if h := tr.Health(); len(h.Streams) != 1 || !h.Streams[0].Listening || h.Streams[0].Connects != 1 {
			t.Errorf("in the end: %+v", h)
		}
	})
}
