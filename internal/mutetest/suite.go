package mutetest

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Suite tries a driver on a broker that leaves something unanswered.
type Suite struct {
	Target   string // the broker's address
	Protocol Protocol
	Open     messaging.Opener            // of a driver that counts such a broker as lost after Patience
	URL      func(address string) string // the transport URL with this address in it
	Cases    []Case
}

// Patience is that of the drivers under test.
const Patience = 600 * time.Millisecond

// Case is one thing that a broker does not say.
type Case struct {
	Name string
	Is   func(frame []byte) bool

	// Permits: without it the broker takes no messages, which it need not. Senders
	// wait under their ctx, however long that is.
	Permits bool
}

const (
	short = 200 * time.Millisecond // the deadline of who has one
	slack = 2 * time.Second        // for a busy machine
	limit = 20 * time.Second       // for what must come
)

// Run tries every case, all at once: they wait most of the time.
func (s *Suite) Run(t *testing.T) {
	var all sync.WaitGroup
	defer all.Wait()
	for _, c := range s.Cases {
		for name, f := range map[string]func(*trial){
			"conn": (*trial).conn, "transport": (*trial).transport, "from the beginning": (*trial).beginning,
		} {
			all.Go(func() {
				t.Run(c.Name+"/"+name, func(t *testing.T) {
					f(&trial{T: t, s: s, c: c, proxy: NewProxy(t, s.Target, s.Protocol)})
				})
			})
		}
	}
}

// trial is a test of one case.
type trial struct {
	*testing.T
	s     *Suite
	c     Case
	proxy *Proxy
}

// open returns a transport, which the test closes.
func (t *trial) open() *messaging.Transport {
	t.Helper()
	tr, err := messaging.Registry{t.url().Scheme: t.s.Open}.Open(t.Context(), t.s.URL(t.proxy.Addr), &messaging.Options{
		Logger: slog.New(slog.DiscardHandler), DialTimeout: time.Second,
		BackoffMin: time.Millisecond, BackoffMax: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
		defer cancel()
		_ = tr.Close(ctx) // it is closed, unless the test failed
	})
	return tr
}

// Dial makes a connection to the first host of a transport URL.
func Dial(ctx context.Context, open messaging.Opener, address string) (messaging.Conn, error) {
	u, err := messaging.ParseURL(address)
	if err != nil {
		return nil, err
	}
	d, _, err := open(u, (*messaging.Options)(nil).WithDefaults())
	if err != nil {
		return nil, err
	}
	host := u.Hosts[0]
	return d.Dial(ctx, messaging.Endpoint{Host: host.HostPort(), Name: "mutetest", Credentials: func(context.Context) (messaging.Credentials, error) {
		return messaging.Credentials{Username: host.Username, Password: host.Password}, nil
	}})
}

// Conn is Dial for a test, which closes the connection.
func Conn(tb testing.TB, open messaging.Opener, address string) messaging.Conn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	c, err := Dial(ctx, open, address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), limit)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			tb.Errorf("Close = %v", err)
		}
	})
	return c
}

func (t *trial) url() *messaging.URL {
	t.Helper()
	u, err := messaging.ParseURL(t.s.URL(t.proxy.Addr))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// mute makes the broker so, or as it should be.
func (t *trial) mute(yes bool) {
	if yes {
		t.proxy.Swallow(t.c.Is)
	} else {
		t.proxy.Swallow(nil)
	}
}

// step is something that must end.
type step struct {
	what string
	f    func(ctx context.Context) error
}

// within does all steps at once, each with a deadline: by then they end.
func (t *trial) within(steps ...step) { t.bounded(short, slack, steps...) }

// without does all steps at once, without a deadline: they end when the broker counts
// as lost. Who waits several times in a row takes as many times as long.
func (t *trial) without(steps ...step) { t.bounded(0, limit, steps...) }

func (t *trial) bounded(deadline, late time.Duration, steps ...step) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range steps {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if deadline > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), deadline)
			}
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- s.f(ctx) }()
			select {
			case err := <-ended:
				t.Logf("%s: %v", s.what, err)
			case <-time.After(deadline + late):
				t.Errorf("%s hangs (deadline %v)", s.what, deadline)
				cancel()
				t.Logf("%s: %v", s.what, <-ended)
			}
		})
	}
	all.Wait()
}

// eventually does f until it succeeds.
func (t *trial) eventually(what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, time.Second)
		err := f(once)
		done()
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func topic() messaging.Address { return messaging.Address{Topic: "t" + rand.Text()} }

func message() *messaging.Message {
	return &messaging.Message{ContentType: "application/json", Body: []byte("{}")}
}

func envelope() *messaging.Envelope {
	return &messaging.Envelope{Method: "m", Body: []byte("{}")}
}

func listens(as ...messaging.Address) messaging.Subscription {
	return messaging.Subscription{Sources: as, Instance: rand.Text(), Prefetch: 8}
}

// result is a Completion.
type result chan error

func (r result) Complete(err error) { r <- err }

// conn is about what the contract of a driver says of a connection: nobody waits for
// ever, whatever his ctx.
func (t *trial) conn() {
	var c messaging.Conn
	var l messaging.Listener
	var got *messaging.Delivery
	a, other := topic(), topic()
	send := func(ctx context.Context, to messaging.Address) error {
		r := make(result, 1)
		if err := c.Send(ctx, to, message(), r); err != nil {
			return err
		}
		select {
		case err := <-r:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	t.eventually("with a good broker", func(ctx context.Context) (err error) { // a busy machine may be late with an answer
		if c, err = Dial(ctx, t.s.Open, t.s.URL(t.proxy.Addr)); err != nil {
			return err
		}
		if l, err = c.Listen(ctx, listens(a, other)); err == nil {
			if err = send(ctx, a); err == nil {
				got, err = l.Poll(ctx)
			}
		}
		if err != nil {
			_ = c.Close(ctx)
		}
		return err
	})
	t.mute(true)
	fanout := topic()
	fanout.Fanout = true
	steps := []step{
		{"listening", func(ctx context.Context) error { _, err := c.Listen(ctx, listens(topic(), fanout)); return err }},
		{"settling", func(ctx context.Context) error { return got.Settle(ctx, messaging.Ack) }},
	}
	if !t.c.Permits {
		steps = append(steps,
			step{"sending where was sent", func(ctx context.Context) error { return send(ctx, a) }},
			step{"sending elsewhere", func(ctx context.Context) error { return send(ctx, other) }},
			step{"sending a fanout", func(ctx context.Context) error { return send(ctx, fanout) }},
		)
	}
	t.without(steps...)
	if t.c.Permits {
		waits := make(chan error, 1)
		go func() { waits <- send(context.WithoutCancel(t.Context()), other) }()
		defer func() {
			select {
			case err := <-waits:
				t.Logf("sending, at the end: %v", err)
			case <-time.After(limit):
				t.Error("who waits for the broker's permit to send hangs after the end")
			}
		}()
	}
	t.without(step{"stopping", func(ctx context.Context) error { _, err := l.Stop(ctx); return err }})
	t.without(step{"closing the listener", l.Close})
	t.without(step{"closing the connection", c.Close})
	if err := c.Err(); !errors.Is(err, messaging.ErrConnLost) && !errors.Is(err, messaging.ErrClosed) {
		t.Errorf("the connection ended for %v", err)
	}
}

// service is both ends of a bus.
type service struct {
	at, client *messaging.Transport
	server     *rpc.Server
	stream     *messaging.Stream
	call       func(ctx context.Context) error
	cast       func(ctx context.Context) error
}

// serve starts one.
func (t *trial) serve() *service {
	t.Helper()
	s := &service{at: t.open(), client: t.open()}
	target := messaging.Target{Topic: topic().Topic, Server: "s"}
	endpoint := &rpc.Endpoint{}
	rpc.Handle(endpoint, "echo", func(_ context.Context, in struct{ Text string }) (string, error) { return in.Text, nil })
	var err error
	if s.server, err = rpc.NewServer(s.at, target, []*rpc.Endpoint{endpoint}, nil); err != nil {
		t.Fatal(err)
	}
	t.eventually("starting", s.server.Start)
	a := topic()
	t.eventually("listening", func(ctx context.Context) (err error) {
		s.stream, err = s.at.Listen(ctx, messaging.Subscription{Sources: []messaging.Address{a}})
		return err
	})
	client := rpc.NewClient(s.client, messaging.Target{Topic: target.Topic}, nil)
	s.call = func(ctx context.Context) error {
		_, err := rpc.CallFor[string](ctx, client, "echo", struct{ Text string }{"x"})
		return err
	}
	s.cast = func(ctx context.Context) error {
		if err := s.client.Send(ctx, a, envelope(), nil); err != nil {
			return err
		}
		in, err := s.stream.Poll(ctx)
		if err != nil {
			return err
		}
		return in.Settle(ctx, messaging.Ack)
	}
	return s
}

// transport is about an application: a deadline holds, and what the broker left
// unanswered does no harm once it answers again. Then everything ends in peace.
func (t *trial) transport() {
	s := t.serve()
	t.eventually("a call", s.call)
	t.eventually("a cast", s.cast)
	t.mute(true)
	send := func(to messaging.Address, o *messaging.SendOptions) func(context.Context) error {
		return func(ctx context.Context) error { return s.client.Send(ctx, to, envelope(), o) }
	}
	fanout := topic()
	fanout.Fanout = true
	notes := messaging.Address{Kind: messaging.KindNotify, Topic: rand.Text()}
	t.within(
		step{"calling", s.call},
		step{"casting", s.cast},
		step{"casting elsewhere", send(topic(), nil)},
		step{"sending a fanout", send(fanout, nil)},
		step{"publishing", send(notes, &messaging.SendOptions{Ensure: true})},
		step{"listening", func(ctx context.Context) error {
			l, err := s.at.Listen(ctx, listens(topic()))
			if err == nil {
				err = l.Close(ctx)
			}
			return err
		}},
		step{"asking for health", func(context.Context) error { return s.client.Health().Err }},
	)
	t.mute(false)
	if !t.c.Permits { // it takes some that it did not say it takes
		t.eventually("a call after that", s.call)
		t.eventually("a cast after that", s.cast)
		t.eventually("a cast elsewhere after that", send(topic(), nil))
		t.eventually("a fanout after that", send(fanout, nil))
		t.eventually("a publish after that", send(notes, &messaging.SendOptions{Ensure: true}))
	}
	t.mute(true)
	t.within(step{"calling", s.call}, step{"casting", s.cast})
	t.without(
		step{"stopping the server", s.server.Stop},
		step{"stopping the stream", func(ctx context.Context) error { _, err := s.stream.Stop(ctx); return err }},
	)
	t.without(step{"waiting for the server", s.server.Wait}, step{"closing the stream", s.stream.Close})
	t.without(step{"closing the server's transport", s.at.Close}, step{"closing the client's", s.client.Close})
}

// beginning is about a broker that never answered.
func (t *trial) beginning() {
	t.mute(true)
	tr := t.open()
	send := func(ctx context.Context) error { return tr.Send(ctx, topic(), envelope(), nil) }
	t.within(
		step{"connecting", tr.Connect},
		step{"sending", send},
		step{"listening", func(ctx context.Context) error { _, err := tr.Listen(ctx, listens(topic())); return err }},
	)
	t.within(step{"sending again", send})
	t.mute(false)
	if !t.c.Permits {
		t.eventually("sending after that", send)
	}
	t.mute(true)
	t.without(step{"closing", tr.Close})
}
