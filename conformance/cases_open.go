package conformance

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

func openCases() []Case {
	return group("open",
		must("open_ok", "A transport that cannot be opened, asked what it can do and closed again is of no use at all.", openOK),
		must("open_bad_url", "A mistake in a URL must be named where it is made: an option that is misspelled and ignored lives for years.", openBadURL),
		must("open_unreachable_respects_deadline", "While a peer is down, who waits for it decides how long, and learns that nothing was sent.", openUnreachable),
		must("open_auth_failure_is_typed", "A refused password needs a person, not a retry, and must not be printed.", openAuthFailure),
		must("open_twice_independent", "Two transports of one program share nothing: closing one must not hurt the other.", openTwice),
		must("close_idempotent", "Close is deferred in many places; the second one must do nothing.", closeIdempotent),
		must("close_concurrent", "Signal handlers and deferred calls close at the same time; all must return, and so must who polls.", closeConcurrent),
		must("use_after_close_is_typed", "What is used after Close must say so at once, or shutdown becomes a hang.", useAfterClose),
	)
}

func openOK(t *trial) {
	tr := t.open()
	start := time.Now()
	t.check(tr.Connect(t.patient()), "connecting")
	t.prove("connected in %v", time.Since(start).Round(time.Millisecond))
	caps, err := tr.Capabilities(t.patient())
	t.check(err, "asking for capabilities")
	if caps != t.caps {
		t.errorf("the second transport has capabilities %+v, the first had %+v", caps, t.caps)
	}
	if n := tr.Stats().Conns; n < 1 {
		t.errorf("connected, yet Stats says %d connections", n)
	}
	t.check(tr.Close(t.patient()), "closing")
	if n := tr.Stats().Conns; n != 0 {
		t.errorf("closed, yet Stats says %d connections", n)
	}
}

func openBadURL(t *trial) {
	t.needs(t.h.OpenURL != nil && t.h.URL != "", "OpenURL and URL")
	scheme, _, _ := strings.Cut(t.h.URL, "://")
	option := "?"
	if strings.Contains(t.h.URL, "?") {
		option = "&"
	}
	for _, bad := range []string{
		"",
		"no scheme",
		"conformance-no-such-driver://localhost/",
		scheme + "://user:" + wrongPassword + "@host:port/",
		t.h.URL + option + "conformance_no_such_option=1",
	} {
		tr, err := t.h.OpenURL(t.patient(), bad)
		if err == nil {
			t.check(tr.Close(t.patient()), "closing what should not have opened")
			t.errorf("%q was accepted", bad)
			continue
		}
		if !errors.Is(err, messaging.ErrInvalidURL) {
			t.errorf("%q: %v does not match ErrInvalidURL", bad, err)
		}
		_ = t.heard(err)
	}
}

func openUnreachable(t *trial) {
	t.needs(t.h.OpenURL != nil && t.h.Unreachable != "", "Unreachable URL")
	tr, err := t.h.OpenURL(t.patient(), t.h.Unreachable)
	t.check(err, "opening a transport, which must not connect")
	t.cleanup(func(ctx context.Context) { _ = tr.Close(ctx) })

	start := time.Now()
	err = t.heard(tr.Connect(t.within(moment)))
	t.bounds("connecting to nobody", start, t.scaled(moment))
	if !errors.Is(err, messaging.ErrConnect) {
		t.errorf("connecting to nobody: %v does not match ErrConnect", err)
	}

	start = time.Now()
	err = tr.Send(t.within(moment), anyOf(t.name("topic")), message("never"), nil)
	t.bounds("sending to nobody", start, t.scaled(moment))
	if fateOf(err) != notSent {
		t.errorf("sending to nobody: %v, want ErrNotSent", err)
	}

	start = time.Now()
	_, err = tr.Listen(t.within(moment), serverOf(messaging.Target{Topic: t.name("topic"), Server: "s"}))
	t.bounds("listening to nobody", start, t.scaled(moment))
	if err == nil {
		t.errorf("listening to nobody succeeded")
	}
}

func openAuthFailure(t *trial) {
	t.needs(t.h.OpenURL != nil && t.h.WrongPassword != "", "WrongPassword URL")
	t.server(t.name("topic"), "s") // without a broker nobody refuses before somebody is there
	tr, err := t.h.OpenURL(t.patient(), t.h.WrongPassword)
	t.check(err, "opening a transport, which must not connect")
	t.cleanup(func(ctx context.Context) { _ = tr.Close(ctx) })
	start := time.Now()
	err = tr.Connect(t.patient())
	if !errors.Is(err, messaging.ErrAuth) {
		t.fatalf("connecting with a wrong password: %v does not match ErrAuth", err)
	}
	if took, most := time.Since(start), t.scaled(patience)/2; took > most {
		t.errorf("a wrong password was tried for %v", took)
	}
	_ = t.heard(err)
}

func openTwice(t *trial) {
	first, second, sender := t.open(), t.open(), t.open()
	topic := t.name("topic")
	t.receive(first, "one", serverOf(messaging.Target{Topic: topic, Server: "one"}), nil)
	t.receive(second, "two", serverOf(messaging.Target{Topic: topic, Server: "two"}), nil)
	t.send(sender, named(topic, "one"), "before/one")
	t.send(sender, named(topic, "two"), "before/two")
	t.waitKeys("before/one", "before/two")

	t.check(first.Close(t.patient()), "closing the first")
	t.send(sender, named(topic, "two"), "after/two")
	t.send(second, named(topic, "two"), "after/itself")
	t.waitKeys("after/two", "after/itself")
	t.got("two", []string{"before/two", "after/two", "after/itself"})
	if n := second.Stats().ConnsLost; n > 0 {
		t.errorf("closing one transport cost the other %d connections", n)
	}
}

func closeIdempotent(t *trial) {
	never, used := t.open(), t.open()
	t.check(used.Connect(t.patient()), "connecting")
	for i := range 3 {
		t.check(never.Close(t.patient()), "closing a transport that never connected, time %d", i+1)
		t.check(used.Close(t.patient()), "closing, time %d", i+1)
	}
}

func closeConcurrent(t *trial) {
	tr := t.open()
	s := t.listen(tr, serverOf(messaging.Target{Topic: t.name("topic"), Server: "s"}))
	var polls sync.WaitGroup
	for range 4 {
		polls.Add(1)
		t.spawn(func() {
			defer polls.Done()
			if _, err := s.Poll(t.patient()); !errors.Is(err, messaging.ErrClosed) {
				t.errorf("polling while the transport closes: %v, want ErrClosed", err)
			}
		})
	}
	t.each(8, func(int) { t.check(tr.Close(t.patient()), "closing with others") })
	polls.Wait()
}

func useAfterClose(t *trial) {
	tr := t.open()
	topic := t.name("topic")
	sub := serverOf(messaging.Target{Topic: topic, Server: "s"})
	s := t.listen(tr, sub)
	t.check(tr.Close(t.patient()), "closing")

	for what, use := range map[string]func(ctx context.Context) error{
		"Connect":      tr.Connect,
		"Capabilities": func(ctx context.Context) error { _, err := tr.Capabilities(ctx); return err },
		"Send":         func(ctx context.Context) error { return tr.Send(ctx, anyOf(topic), message("late"), nil) },
		"Start": func(ctx context.Context) error {
			_, err := tr.Start(ctx, anyOf(topic), message("late"), nil)
			return err
		},
		"Request": func(ctx context.Context) error {
			_, err := tr.Request(ctx, anyOf(topic), message("late"), nil)
			return err
		},
		"Listen": func(ctx context.Context) error { _, err := tr.Listen(ctx, sub); return err },
		"Poll":   func(ctx context.Context) error { _, err := s.Poll(ctx); return err },
	} {
		start := time.Now()
		if err := use(t.patient()); !errors.Is(err, messaging.ErrClosed) {
			t.errorf("%s after Close: %v, want ErrClosed", what, err)
		}
		t.bounds(what+" after Close", start, 0)
	}
}
