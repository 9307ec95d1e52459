package fake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestCut(t *testing.T) {
	b := fake.New(nil)
	c := dial(t, b)
	l := listen(t, b, on(topic))
	mustSend(t, c, topic, "polled", "prefetched")
	polled := poll(t, l)

	if n := b.Cut(func(i fake.ConnInfo) bool { return i.Listeners > 0 && i.Host == "node1" && i.Name == "test" }); n != 1 {
		t.Fatalf("%d connections were cut, want 1", n)
	}
	_, err := l.Poll(t.Context())
	wantErr(t, err, messaging.ErrConnLost)
	wantErr(t, polled.Settle(t.Context(), messaging.Ack), messaging.ErrConnLost)
	if c.Err() != nil {
		t.Errorf("the other connection ended: %v", c.Err())
	}
	l = listen(t, b, on(topic))
	for _, want := range []string{"polled", "prefetched"} {
		if d := poll(t, l); string(d.Body) != want || !d.Redelivered || d.Count != 1 {
			t.Errorf("got %q, redelivered %v, count %d; want %q, true, 1", d.Body, d.Redelivered, d.Count, want)
		}
	}

	b.CutAll()
	<-c.Done()
	wantErr(t, c.Err(), messaging.ErrConnLost)
	err = c.Send(t.Context(), topic, &messaging.Message{}, newReceipt())
	wantErr(t, err, messaging.ErrNotSent, messaging.ErrConnLost)
	_, err = c.Listen(t.Context(), messaging.Subscription{Sources: []messaging.Address{topic}, Prefetch: 1})
	wantErr(t, err, messaging.ErrConnLost)
	if b.Conns() != 0 {
		t.Errorf("%d connections are left", b.Conns())
	}
}

func TestRestart(t *testing.T) {
	b := fake.New(nil)
	c := dial(t, b)
	listen(t, b, messaging.Subscription{Sources: []messaging.Address{topic, fanout}, Instance: "i"})
	listen(t, b, messaging.Subscription{Reply: reply.Direct})
	durable := func(s string) messaging.Message { return messaging.Message{Body: []byte(s), Durable: true} }
	for _, m := range []messaging.Message{body("a"), durable("b"), body("c"), durable("d")} {
		if err := send(t, c, topic, m); err != nil {
			t.Fatal(err)
		}
	}
	b.Restart()
	wantErr(t, c.Err(), messaging.ErrConnLost)
	if diff := cmp.Diff([]fake.QueueInfo{{Name: `topic "volume"`, Waiting: 2, Durable: true}}, b.Queues()); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]string{"b", "d"}, receive(t, listen(t, b, on(topic)), 2)); diff != "" {
		t.Error(diff)
	}
}

func TestHoldConfirms(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut=%v", cut), func(t *testing.T) {
			b := fake.New(nil)
			l, c := listen(t, b, on(topic)), dial(t, b)
			b.HoldConfirms(true)
			r := newReceipt()
			m := body("a")
			if err := c.Send(t.Context(), topic, &m, r); err != nil {
				t.Fatal(err)
			}
			receive(t, l, 1)
			if len(r) != 0 {
				t.Fatal("the outcome was told too early")
			}
			if cut {
				b.CutAll()
				wantErr(t, r.outcome(t), messaging.ErrOutcomeUnknown)
				return
			}
			b.HoldConfirms(false)
			if err := r.outcome(t); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFreeze(t *testing.T) {
	b := fake.New(nil)
	l, c := listen(t, b, on(topic)), dial(t, b)
	mustSend(t, c, topic, "before")
	d := poll(t, l)
	b.Freeze(true)
	r1, r2 := newReceipt(), newReceipt()
	m := body("1")
	if err := c.Send(t.Context(), topic, &m, r1); err != nil {
		t.Fatal(err)
	}
	m.Body[0] = '2' // it is ours again
	if err := c.Send(t.Context(), topic, &m, r2); err != nil {
		t.Fatal(err)
	}
	settle(t, d, messaging.Ack)
	wantNothing(t, l)
	if len(r1)+len(r2) != 0 || b.Queues()[0].Unsettled != 1 {
		t.Fatal("something went through the freeze")
	}
	b.Freeze(false)
	if err := errors.Join(r1.outcome(t), r2.outcome(t)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"1", "2"}, receive(t, l, 2)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]fake.QueueInfo{{Name: `topic "volume"`, Consumers: 1, Durable: true}}, b.Queues()); diff != "" {
		t.Error(diff)
	}
}

func TestFrozenThenCutLosesWhatWasSent(t *testing.T) {
	b := fake.New(nil)
	l, c := listen(t, b, on(topic)), dial(t, b)
	mustSend(t, c, topic, "a")
	d := poll(t, l)
	b.Freeze(true)
	r := newReceipt()
	if err := c.Send(t.Context(), topic, &messaging.Message{}, r); err != nil {
		t.Fatal(err)
	}
	settle(t, d, messaging.Ack)
	b.CutAll()
	wantErr(t, r.outcome(t), messaging.ErrOutcomeUnknown)
	b.Heal()
	l = listen(t, b, on(topic))
	if d := poll(t, l); string(d.Body) != "a" || !d.Redelivered {
		t.Errorf("got %q, redelivered %v; want a again: its settle was lost", d.Body, d.Redelivered)
	}
	wantNothing(t, l)
}

func TestFrozenDialAndListenEndWithTheContext(t *testing.T) {
	b := fake.New(nil)
	c := dial(t, b)
	b.Freeze(true)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err := b.Driver(nil).Dial(ctx, endpoint("h", messaging.Credentials{}))
	wantErr(t, err, messaging.ErrConnect, reason)
	_, err = c.Listen(ctx, messaging.Subscription{Reply: "r", Prefetch: 1})
	wantErr(t, err, reason)
}

func TestFrozenDialGoesOnAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake.New(nil)
		b.Freeze(true)
		dialed := make(chan error)
		go func() {
			_, err := b.Driver(nil).Dial(t.Context(), endpoint("h", messaging.Credentials{}))
			dialed <- err
		}()
		synctest.Wait()
		b.Freeze(false)
		if err := <-dialed; err != nil {
			t.Error(err)
		}
	})
}

func TestSendWaits(t *testing.T) {
	faults := map[string]func(b *fake.Broker, c messaging.Conn){
		"blocked": func(b *fake.Broker, _ messaging.Conn) { b.Block(true) },
		"window full": func(b *fake.Broker, c messaging.Conn) {
			b.HoldConfirms(true)
			if err := c.Send(context.Background(), topic, &messaging.Message{}, nil); err != nil {
				panic(err)
			}
		},
	}
	endings := map[string]struct {
		end  func(b *fake.Broker, cancel context.CancelCauseFunc)
		want []error
	}{
		"healed":    {func(b *fake.Broker, _ context.CancelCauseFunc) { b.Heal() }, nil},
		"cut":       {func(b *fake.Broker, _ context.CancelCauseFunc) { b.CutAll() }, []error{messaging.ErrNotSent, messaging.ErrConnLost}},
		"cancelled": {func(_ *fake.Broker, cancel context.CancelCauseFunc) { cancel(errRefuse) }, []error{messaging.ErrNotSent, errRefuse}},
	}
	for fault, begin := range faults {
		for name, ending := range endings {
			t.Run(fault+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fake.New(nil)
					c, err := b.Driver(&messaging.Options{Window: 1}).Dial(t.Context(), endpoint("h", messaging.Credentials{}))
					if err != nil {
						t.Fatal(err)
					}
					begin(b, c)
					ctx, cancel := context.WithCancelCause(t.Context())
					sent := make(chan error, 1)
					r := newReceipt()
					go func() { sent <- c.Send(ctx, topic, &messaging.Message{}, r) }()
					synctest.Wait()
					if len(sent) != 0 {
						t.Fatalf("Send did not wait: %v", <-sent)
					}
					ending.end(b, cancel)
					err = <-sent
					wantErr(t, err, ending.want...)
					if told := len(r) == 1; told != (err == nil) {
						t.Errorf("Send returned %v, outcome told: %v", err, told)
					}
				})
			})
		}
	}
}

var errRefuse = errors.New("no longer wanted")

func TestDialErrors(t *testing.T) {
	right := messaging.Credentials{Username: "user", Password: "right"}
	wrong := messaging.Credentials{Username: "user", Password: "hunter2"}
	tests := []struct {
		name  string
		fault func(*fake.Broker)
		as    messaging.Credentials
		want  []error
	}{
		{"any credentials", func(*fake.Broker) {}, wrong, nil},
		{"right password", func(b *fake.Broker) { b.SetPassword("user", "right") }, right, nil},
		{
			"wrong password", func(b *fake.Broker) { b.SetPassword("user", "right") }, wrong,
			[]error{messaging.ErrConnect, messaging.ErrAuth, messaging.ErrPermanent},
		},
		{"refused", func(b *fake.Broker) { b.RefuseNew(true) }, right, []error{messaging.ErrConnect}},
		{"host refused", func(b *fake.Broker) { b.RefuseHost("h", true) }, right, []error{messaging.ErrConnect}},
		{"other host refused", func(b *fake.Broker) { b.RefuseHost("other", true) }, right, nil},
		{"healed", func(b *fake.Broker) { b.RefuseNew(true); b.RefuseHost("h", true); b.Heal() }, right, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := fake.New(nil)
			tt.fault(b)
			_, err := b.Driver(nil).Dial(t.Context(), endpoint("h", tt.as))
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			wantErr(t, err, tt.want...)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

func TestCredentialsAreAskedAtEachDial(t *testing.T) {
	asked := 0
	ep := endpoint("h", messaging.Credentials{})
	ep.Credentials = func(context.Context) (messaging.Credentials, error) {
		asked++
		return messaging.Credentials{}, errRefuse
	}
	_, err := fake.New(nil).Driver(nil).Dial(t.Context(), ep)
	wantErr(t, err, messaging.ErrConnect, errRefuse)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestTooLarge(t *testing.T) {
	c := dial(t, fake.New(&fake.Options{MaxMessage: 3}))
	if got := c.Capabilities().MaxMessage; got != 3 {
		t.Errorf("MaxMessage is %d", got)
	}
	mustSend(t, c, topic, "abc")
	m := body("abcd")
	wantErr(t, c.Send(t.Context(), topic, &m, newReceipt()), messaging.ErrNotSent, messaging.ErrTooLarge)
}

func TestDeleteQueue(t *testing.T) {
	b := fake.New(nil)
	sub := on(topic)
	sub.Prefetch = 1
	l, c := listen(t, b, sub), dial(t, b)
	mustSend(t, c, topic, "polled", "waiting")
	d := poll(t, l)
	if name := b.Queues()[0].Name; !b.DeleteQueue(name) || b.DeleteQueue(name+" not there") {
		t.Fatal("DeleteQueue does not tell what was there")
	}
	settle(t, d, messaging.Requeue) // forgotten by the broker
	mustSend(t, c, topic, "after")
	if diff := cmp.Diff([]string{"after"}, receive(t, l, 1)); diff != "" {
		t.Error(diff)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.DeleteQueue(b.Queues()[0].Name)
	wantErr(t, send(t, c, topic, messaging.Message{Mandatory: true}), messaging.ErrNoRoute)
}

func TestConnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake.New(nil)
		c := dial(t, b)
		b.HoldConfirms(true)
		told, unknown := newReceipt(), newReceipt()
		if err := c.Send(t.Context(), topic, &messaging.Message{}, told); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 2)
		for range 2 { // concurrently
			go func() { closed <- c.Close(t.Context()) }()
		}
		synctest.Wait()
		if len(closed) != 0 || c.Err() != nil {
			t.Fatal("Close did not wait for the outcome")
		}
		wantErr(t, c.Send(t.Context(), topic, &messaging.Message{}, unknown), messaging.ErrNotSent, messaging.ErrClosed)
		b.HoldConfirms(false)
		if err := errors.Join(<-closed, <-closed, told.outcome(t)); err != nil {
			t.Error(err)
		}
		wantErr(t, c.Err(), messaging.ErrClosed)

		c = dial(t, b)
		b.HoldConfirms(true)
		if err := c.Send(t.Context(), topic, &messaging.Message{}, unknown); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		wantErr(t, unknown.outcome(t), messaging.ErrOutcomeUnknown)
	})
}
