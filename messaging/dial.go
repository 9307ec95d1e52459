package messaging

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// dialer opens the successive connections of one user, a slot of the pool or a
// stream: over the URL's hosts, shuffled once and then in turn, so that users
// spread over the hosts and each fails over. It is not safe for concurrent use.
type dialer struct {
	t     *Transport
	hosts []Host
	next  int
	tries int // since the last success
	back  backoff
}

func (t *Transport) newDialer() *dialer {
	hosts := append([]Host(nil), t.url.Hosts...)
	if len(hosts) == 0 {
		hosts = []Host{{}} // all defaults: the driver's
	}
	if t.driver.SingleConn() {
		return &dialer{t: t, hosts: hosts, back: t.backoff()}
	}
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	return &dialer{t: t, hosts: hosts, back: t.backoff()}
}

func (t *Transport) backoff() backoff {
	return backoff{min: t.opts.BackoffMin, max: t.opts.BackoffMax}
}

// round tries every host once, beginning with the one after the last tried.
// If all failures are permanent, so is the error; it matches ErrConnect and,
// unless ctx ended it, says why each host failed.
func (d *dialer) round(ctx context.Context) (Conn, error) {
	n := len(d.hosts)
	if d.t.driver.SingleConn() {
		n = 1
	}
	var errs []error
	permanent := true
	for range n {
		h := d.hosts[d.next%len(d.hosts)]
		c, err := d.attempt(ctx, h)
		if err == nil {
			d.tries = 0
			d.back.reset()
			return c, nil
		}
		d.next++
		if ctx.Err() != nil && len(errs) > 0 {
			break // the last host was not really tried: what the others said is worth more
		}
		permanent = permanent && isPermanent(err)
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if !permanent {
		err = &transientError{err}
	}
	return nil, err
}

// transientError hides that one host refuses for good while another host may still
// be reached.
type transientError struct{ err error }

func (e *transientError) Error() string { return e.err.Error() }

func (e *transientError) Is(target error) bool {
	return !slices.Contains(forGood(), target) && errors.Is(e.err, target)
}

func (e *transientError) As(target any) bool { return errors.As(e.err, target) }

// dialling is the operation of a failed dial.
const dialling = "connecting to"

// attempt dials one host once.
func (d *dialer) attempt(ctx context.Context, h Host) (Conn, error) {
	t := d.t
	d.tries++
	hp := h.HostPort()
	if t.opts.DialTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.opts.DialTimeout)
		defer cancel()
	}
	ep := Endpoint{Host: hp, Name: t.opts.Name, Credentials: func(ctx context.Context) (Credentials, error) {
		if t.opts.Credentials != nil {
			return t.opts.Credentials(ctx, hp)
		}
		return Credentials{Username: h.Username, Password: h.Password}, nil
	}}
	if t.driver.SingleConn() {
		for _, h := range d.hosts {
			ep.Hosts = append(ep.Hosts, h.HostPort())
		}
		ep.Links = (*links)(t)
	}
	began := time.Now()
	t.count.dials.Add(1)
	c, err := t.driver.Dial(ctx, ep)
	if err != nil {
		t.count.dialFailures.Add(1)
		if !errors.Is(err, ErrConnect) { // the driver's mistake, not the user's loss
			err = fmt.Errorf("%w: %w", ErrConnect, err)
		}
		if inner, ok := err.(*OpError); !ok || inner.Op != dialling { //nolint:errorlint // only the outermost: a driver that names the host knows its default port
			err = opError(dialling, d.describe(hp), err)
		}
	}
	if f := t.opts.Trace.Dialed; f != nil {
		f(d.describe(hp), d.tries, time.Since(began), err)
	}
	return c, err
}

func (d *dialer) describe(hp HostPort) string {
	if d.t.driver.SingleConn() && len(d.hosts) > 1 {
		var all []string
		for _, h := range d.hosts {
			all = append(all, spell(h.HostPort()))
		}
		return strings.Join(all, ", ")
	}
	if hp == (HostPort{}) {
		return d.t.url.Scheme + "://"
	}
	return spell(hp)
}

// spell is String, but for a port that is not said: 0 is none that anybody dials.
func spell(hp HostPort) string {
	if hp.Port == 0 {
		return hp.Host
	}
	return hp.String()
}

// dial tries in rounds, with a wait between them, until it succeeds, a round
// fails for good (unless persist), more says no, or ctx ends. pause makes it wait
// before the first round too, as after a lost connection.
func (d *dialer) dial(ctx context.Context, pause, persist bool, more func(last error) bool) (Conn, error) {
	var last error
	for first := true; ; first = false {
		if !first || pause {
			if err := d.back.wait(ctx); err != nil {
				return nil, gaveUp(err, last)
			}
		}
		c, err := d.round(ctx)
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			if last == nil {
				last = err
			}
			return nil, gaveUp(context.Cause(ctx), last)
		case isPermanent(err) && !persist:
			return nil, err
		}
		last = err
		if !more(err) {
			return nil, err
		}
	}
}

// gaveUp is the error of a wait for a connection that was ended by cause.
func gaveUp(cause, last error) error {
	if last == nil {
		return fmt.Errorf("%w: %w", ErrConnect, cause)
	}
	return fmt.Errorf("%w: %w, the last attempt said: %w", ErrConnect, cause, last)
}

// isPermanent reports whether repeating what failed cannot help.
func isPermanent(err error) bool {
	return slices.ContainsFunc(forGood(), func(p error) bool { return errors.Is(err, p) })
}

// forGood returns the errors of what cannot succeed when it is repeated.
func forGood() []error {
	return []error{ErrPermanent, ErrAuth, ErrUnsupported, ErrInvalidTarget, ErrTooLarge, ErrUndecodable}
}
