package rabbit_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

const directOption = "direct_reply_to=true"

func replies(name string) messaging.Subscription {
	return messaging.Subscription{Reply: name, Instance: "i", Prefetch: 1}
}

// TestDirectReply: replies arrive from any connection, at an address that no queue
// has, and are nobody's once the listener is closed.
func TestDirectReply(t *testing.T) {
	b := newBroker(t)
	l := listen(t, dial(t, b, directOption), replies("reply_direct"))
	to := messaging.Address{Kind: messaging.KindReply, Direct: l.Address()}
	if !strings.HasPrefix(to.Direct, "amq.rabbitmq.reply-to.") {
		t.Errorf("address %q", to.Direct)
	}
	if b.hasQueue(t, "reply_direct") {
		t.Error("there is a queue")
	}
	out := dial(t, b, "")
	m := text("x")
	m.Mandatory = true
	mustSend(t, out, to, m)
	d := poll(t, l)
	if string(d.Body) != "x" {
		t.Errorf("got %q", d.Body)
	}
	for _, o := range []messaging.Outcome{messaging.Ack, messaging.Requeue, messaging.Drop, messaging.Ack} {
		settle(t, d, o) // the broker would close the channel if it heard of it
		mustSend(t, out, to, text("y"))
		if d = poll(t, l); string(d.Body) != "y" {
			t.Errorf("got %q", d.Body)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	mustSend(t, out, to, m) // the broker does not say that nobody is there
}

// TestDirectReplyAddresses: no address of a stranger's ends a connection.
func TestDirectReplyAddresses(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		out := dial(t, b, "")
		for _, address := range []string{
			"", ".", ".garbage", "." + strings.Repeat("g", 200),
			".g1h2AA5yZXBseUA=.x", ".g2EB.x", ".g2o=.x", ".AQID.x", ".gw==.UO62/gBsvK7d285WM/pfhA==", // no process, but well encoded
		} {
			to := messaging.Address{Kind: messaging.KindReply, Direct: "amq.rabbitmq.reply-to" + address}
			m := text("x")
			m.Mandatory = true
			err := send(t, out, to, m)
			if err != nil {
				wantErr(t, err, messaging.ErrNoRoute)
			}
			if !strings.HasPrefix(b.Broker.String(), "RabbitMQ 4.3") {
				wantErr(t, err, messaging.ErrReplyRefused)
			}
		}
		if err := out.Err(); err != nil {
			t.Error(err)
		}
	})
}

// TestDirectReplyFlood: nobody slows the broker down, so what waits for a listener
// that does not poll has an end.
func TestDirectReplyFlood(t *testing.T) {
	b := newBroker(t)
	in, out := dial(t, b, directOption), dial(t, b, "")
	to := messaging.Address{Kind: messaging.KindReply, Direct: listen(t, in, replies("reply_flood")).Address()}
	for range 2000 {
		if err := out.Send(within(t, limit), to, text("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-in.Done():
		wantErr(t, in.Err(), messaging.ErrConnLost)
	case <-within(t, limit).Done():
		t.Error("2000 replies wait")
	}
}

// TestDirectReplyAlarm: who listens during an alarm gets replies, then and later. His
// connection is blocked, because he asked for his address, so what waits for the
// broker there ends with its context, and Close does not wait for the alarm's end.
func TestDirectReplyAlarm(t *testing.T) {
	b := newBroker(t)
	b.ctl(t, "set_vm_memory_high_watermark", "0.00001")
	defer b.ctl(t, "set_vm_memory_high_watermark", "0.6")
	in, closing := dial(t, b, directOption+"&heartbeat_timeout_threshold=1"), dial(t, b, directOption)
	l := listen(t, in, replies("reply_alarm"))
	to := messaging.Address{Kind: messaging.KindReply, Direct: l.Address()}
	early := text("") // what a connection sends first gets through, if it has no body
	if err := dial(t, b, "").Send(within(t, limit), to, early, nil); err != nil {
		t.Fatal(err)
	}
	poll(t, l)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // more than the heartbeats that lose a connection
	defer cancel()
	_, err := in.Listen(ctx, replies("reply_alarm_2"))
	wantErr(t, err, context.DeadlineExceeded)

	for _, end := range []func(context.Context) error{
		listen(t, closing, replies("reply_closed")).Close, closing.Close,
	} {
		if err := end(within(t, limit)); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	b.ctl(t, "set_vm_memory_high_watermark", "0.6")
	mustSend(t, dial(t, b, ""), to, text("late"))
	if d := poll(t, l); string(d.Body) != "late" {
		t.Errorf("got %q", d.Body)
	}
	if err := l.Close(within(t, limit)); err != nil {
		t.Error(err)
	}
}

// TestDirectReplyOldBroker: the error says which version is needed, and nobody tries again.
func TestDirectReplyOldBroker(t *testing.T) {
	for _, version := range []string{"3.10", "4.0"} {
		t.Run(version, func(t *testing.T) {
			_, err := dial(t, newBrokerOf(t, version), directOption).Listen(within(t, limit), replies("reply_old"))
			wantErr(t, err, messaging.ErrPermanent)
			if err == nil || !strings.Contains(err.Error(), "needs RabbitMQ 4.2 or later, the broker is \""+version) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestDirectReplyForbidden: a client asks for its address over the default exchange,
// and is told when it may not.
func TestDirectReplyForbidden(t *testing.T) {
	b := newBroker(t)
	u, err := url.Parse(b.User(t, b.URL(directOption), "Own-s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	b.ctl(t, "set_permissions", "-p", strings.TrimPrefix(u.Path, "/"), u.User.Username(), ".*", "^openstack$", ".*")
	c, err := dialURL(t, u.String(), limit)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Listen(within(t, limit), replies("reply_forbidden"))
	wantErr(t, err, messaging.ErrAuth, messaging.ErrPermanent)
}
