package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/patchbay-go/patchbay/messaging"
)

// secretCase judges all that was logged and every error of the run.
const secretCase = "no_secret_in_errors_or_logs"

// transcript searches what is said in a run for passwords. It keeps nothing
// else. It is safe for concurrent use.
type transcript struct {
	mu      sync.Mutex
	secrets []string
	texts   int
	found   []string // what shows a password, with that taken out
}

// minSecret is how long a password must be to be told from other text.
const minSecret = 8

// newTranscript searches for the passwords of a URL, and for the wrong one.
func newTranscript(rawURL string) *transcript {
	s := &transcript{secrets: []string{wrongPassword}}
	u, err := messaging.ParseURL(rawURL)
	if err != nil {
		return s
	}
	for _, h := range u.Hosts {
		if len(h.Password) >= minSecret && h.Password != h.Username && !slices.Contains(s.secrets, h.Password) {
			s.secrets = append(s.secrets, h.Password)
		}
	}
	return s
}

// hear searches a text.
func (s *transcript) hear(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts++
	for _, secret := range s.secrets {
		for _, form := range []string{secret, url.PathEscape(secret), url.QueryEscape(secret)} {
			if strings.Contains(text, form) && len(s.found) < 10 {
				s.found = append(s.found, strings.ReplaceAll(strings.TrimSpace(text), form, "(a password)"))
				return
			}
		}
	}
}

// Write hears a line of a log.
func (s *transcript) Write(line []byte) (int, error) {
	s.hear(string(line))
	return len(line), nil
}

// handler hears everything that is logged.
func (s *transcript) handler() slog.Handler {
	return slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})
}

// under returns options whose logger is heard too.
func (s *transcript) under(opts *messaging.Options) *messaging.Options {
	var o messaging.Options
	if opts != nil {
		o = *opts
	}
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	o.Logger = slog.New(slog.NewMultiHandler(s.handler(), log.Handler()))
	return &o
}

// heard has an error searched for passwords, and returns it.
func (t *trial) heard(err error) error {
	if err != nil {
		t.h.said.hear(fmt.Sprintf("%+v", err))
	}
	return err
}

// noSecret adds to what was said in all other cases what is said when a password
// is at hand: it is wrong, its URL is, its host is away, its connection is lost.
func noSecret(t *trial) {
	for _, bad := range []string{"://user:%s@host/", "nosuchdriver://user:%s@host/", "fake://user:%s@host/?nosuchoption=1"} {
		if t.h.OpenURL == nil {
			break
		}
		tr, err := t.h.OpenURL(t.patient(), fmt.Sprintf(bad, wrongPassword))
		if t.heard(err) == nil {
			t.cleanup(func(ctx context.Context) { _ = tr.Close(ctx) })
		}
	}
	t.server(t.name("topic"), "s") // who refuses, where there is no broker
	for _, u := range []string{t.h.Unreachable, t.h.WrongPassword} {
		if t.h.OpenURL == nil || u == "" {
			continue
		}
		tr, err := t.h.OpenURL(t.patient(), u)
		t.check(err, "opening a transport, which must not connect")
		t.cleanup(func(ctx context.Context) { _ = tr.Close(ctx) })
		if t.heard(tr.Connect(t.within(moment))) == nil {
			t.errorf("connecting to nobody, or with a wrong password, succeeded")
		}
		_, err = tr.Listen(t.within(moment), serverOf(messaging.Target{Topic: t.name("topic"), Server: "s"}))
		_ = t.heard(err)
		t.h.said.hear(fmt.Sprintf("%v %+v", tr.URL(), tr.URL()))
	}
	if t.h.Fault.Cut != nil {
		r, sender := t.server(t.name("topic"), "s"), t.open()
		t.check(sender.Connect(t.patient()), "connecting")
		t.cut(r.tr, sender)
	}
	s := t.h.said
	s.mu.Lock()
	defer s.mu.Unlock()
	t.prove("%d errors and lines of logs were searched for %d passwords", s.texts, len(s.secrets))
	for _, text := range s.found {
		t.errorf("a password was shown: %s", text)
	}
}
