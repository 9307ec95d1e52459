package fake_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestTopicReachesOneServerInTurns(t *testing.T) {
	b := fake.New(nil)
	l1, l2 := listen(t, b, on(topic)), listen(t, b, on(topic))
	mustSend(t, dial(t, b), topic, "a", "b", "c", "d")
	if diff := cmp.Diff([]string{"a", "c"}, receive(t, l1, 2)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b", "d"}, receive(t, l2, 2)); diff != "" {
		t.Error(diff)
	}
	wantNothing(t, l1)
	wantNothing(t, l2)
}

func TestNamedServerAlone(t *testing.T) {
	b := fake.New(nil)
	l1 := listen(t, b, on(topic, named))
	l2 := listen(t, b, on(topic, messaging.Address{Topic: "volume", Server: "s2"}))
	mustSend(t, dial(t, b), named, "a", "b")
	for range 2 {
		if d := poll(t, l1); d.Source != 1 {
			t.Errorf("source %d, want 1", d.Source)
		}
	}
	wantNothing(t, l2)
}

func TestFanoutReachesEachInstance(t *testing.T) {
	b := fake.New(nil)
	l1 := listen(t, b, messaging.Subscription{Sources: []messaging.Address{fanout}, Instance: "i1"})
	l2 := listen(t, b, messaging.Subscription{Sources: []messaging.Address{fanout}, Instance: "i2"})
	c := dial(t, b)
	mustSend(t, c, fanout, "a")
	receive(t, l1, 1)
	receive(t, l2, 1)
	if err := l1.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustSend(t, c, fanout, "b")
	if diff := cmp.Diff([]string{"b"}, receive(t, l2, 1)); diff != "" {
		t.Error(diff)
	}
}

// A sender that always sends to one address finds who comes, and who goes.
func TestRouteFollowsListeners(t *testing.T) {
	b := fake.New(nil)
	c := dial(t, b)
	mandatory := messaging.Message{Mandatory: true}
	wantErr(t, send(t, c, reply, mandatory), messaging.ErrNoRoute)
	for range 2 {
		l := listen(t, b, messaging.Subscription{Reply: reply.Direct})
		if err := send(t, c, reply, mandatory); err != nil {
			t.Fatal(err)
		}
		poll(t, l)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, send(t, c, reply, mandatory), messaging.ErrNoRoute)
	}
}

func TestGroupsShareAndOthersGetTheirOwn(t *testing.T) {
	b := fake.New(nil)
	warn := messaging.Address{Kind: messaging.KindNotify, Topic: "notifications.warn"}
	pool := messaging.Subscription{Sources: []messaging.Address{notify, warn}, Group: "pool"}
	p1, p2 := listen(t, b, pool), listen(t, b, pool)
	plain := listen(t, b, on(notify))
	c := dial(t, b)
	mustSend(t, c, notify, "a")
	mustSend(t, c, warn, "b")
	receive(t, p1, 1)
	if d := poll(t, p2); d.Source != 1 || string(d.Body) != "b" {
		t.Errorf("got %q of source %d, want b of 1", d.Body, d.Source)
	}
	receive(t, plain, 1)
	wantNothing(t, plain)
}

func TestOutcomeOfRouting(t *testing.T) {
	mandatory := messaging.Message{Mandatory: true}
	tests := []struct {
		name string
		to   messaging.Address
		m    messaging.Message
		want error
	}{
		{"topic, nobody, mandatory", topic, mandatory, messaging.ErrNoRoute},
		{"topic, nobody", topic, messaging.Message{}, nil},
		{"server, nobody, mandatory", named, mandatory, messaging.ErrNoRoute},
		{"reply, nobody, mandatory", reply, mandatory, messaging.ErrNoRoute},
		{"fanout, nobody, mandatory", fanout, mandatory, messaging.ErrNoRoute},
		{"fanout, nobody", fanout, messaging.Message{}, nil},
		{"ensured, mandatory", notify, messaging.Message{Mandatory: true, Ensure: true}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := send(t, dial(t, fake.New(nil)), tt.to, tt.m)
			if tt.want == nil && err != nil {
				t.Error(err)
			}
			if tt.want != nil {
				wantErr(t, err, tt.want)
			}
		})
	}
}

func TestExchangesAreApart(t *testing.T) {
	b := fake.New(nil)
	other := messaging.Address{Exchange: "other", Topic: topic.Topic}
	l := listen(t, b, on(topic))
	mustSend(t, dial(t, b), other, "a")
	wantNothing(t, l)
}

func TestBrokersAreApart(t *testing.T) {
	l := listen(t, fake.New(nil), on(topic))
	mustSend(t, dial(t, fake.New(nil)), topic, "a")
	wantNothing(t, l)
}

func TestMessageIsOwned(t *testing.T) {
	b := fake.New(nil)
	l, c := listen(t, b, on(topic)), dial(t, b)
	m := messaging.Message{Body: []byte("body"), Headers: []messaging.Header{{Key: "k", Value: "v"}}, ID: "id"}
	if err := send(t, c, topic, m); err != nil {
		t.Fatal(err)
	}
	want := []messaging.Header{{Key: "k", Value: "v"}}
	scribble := func(m *messaging.Message) { clear(m.Body); clear(m.Headers) }
	scribble(&m)
	for attempt := range 2 {
		d := poll(t, l)
		if diff := cmp.Diff(want, d.Headers); diff != "" || string(d.Body) != "body" || d.Count != attempt {
			t.Errorf("attempt %d: %q, count %d, headers %s", attempt, d.Body, d.Count, diff)
		}
		scribble(&d.Message)
		settle(t, d, messaging.Requeue)
	}
}
