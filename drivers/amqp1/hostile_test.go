package amqp1_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// forger is a connection that changes what is written to it.
type forger struct {
	net.Conn
	from, to []byte
}

func (f *forger) Write(p []byte) (int, error) {
	if _, err := f.Conn.Write(bytes.ReplaceAll(p, f.from, f.to)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// forge sends a message to an address of the broker, with some of its bytes
// changed. The broker may refuse it.
func forge(t *testing.T, b *broker, address string, capabilities []string, m *amqp.Message, from, to string) error {
	t.Helper()
	nc, err := net.Dial("tcp", b.host(t))
	if err != nil {
		t.Fatal(err)
	}
	u := parsed(t, b.url)
	password, _ := u.User.Password()
	hostname := u.Hostname()
	if b.rabbit {
		_, vhost, _ := splitURL(t, b.url)
		hostname = "vhost:" + vhost
	}
	c, err := amqp.NewConn(within(t, limit), &forger{nc, []byte(from), []byte(to)}, &amqp.ConnOptions{
		HostName: hostname, SASLType: amqp.SASLTypePlain(u.User.Username(), password),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.NewSession(within(t, limit), nil)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := s.NewSender(within(t, limit), address, &amqp.SenderOptions{TargetCapabilities: capabilities})
	if err != nil {
		t.Fatal(err)
	}
	return sender.Send(within(t, limit), m, nil)
}

// TestHostileMessages: what a stranger sends costs its receiver one message, which
// it can drop, and the next one comes.
func TestHostileMessages(t *testing.T) {
	var nested any = "x"
	for range 3000 {
		nested = []any{nested}
	}
	reply := "binary"
	onEach(t, func(t *testing.T, b *broker) {
		a := messaging.Address{Exchange: "hostile", Topic: topic().Topic}
		in, out := dial(t, b, ""), dial(t, b, "")
		l := listen(t, in, sources(a))
		address, capabilities := "rpc.hostile."+a.Topic, []string(nil)
		switch {
		case b.rabbit:
			address = "/queues/" + address
		case b.column == "Artemis":
			capabilities = []string{"queue"}
		}
		for _, h := range []struct {
			name     string
			m        *amqp.Message
			from, to string
		}{
			{"many levels", &amqp.Message{Value: nested}, "none", "none"},
			{
				"a type that is not known", &amqp.Message{ApplicationProperties: map[string]any{"c": uint32(0xdeadbeef)}, Data: [][]byte{[]byte("x")}},
				"\x70\xde\xad\xbe\xef", "\x73\x00\x00\x00\x41",
			},
			{
				"a type that does not belong there", &amqp.Message{Properties: &amqp.MessageProperties{ReplyTo: &reply}, Data: [][]byte{[]byte("x")}},
				"\xa1\x06binary", "\xa0\x06binary",
			},
			{"a list", &amqp.Message{Value: []any{int64(1)}}, "none", "none"},
			{"a sequence", &amqp.Message{Sequence: [][]any{{"x"}}}, "none", "none"},
			{"nothing", &amqp.Message{Value: amqp.Null{}}, "none", "none"},
		} {
			if err := forge(t, b, address, capabilities, h.m, h.from, h.to); err != nil {
				t.Logf("%s: the broker says %v", h.name, err)
			}
			mustSend(t, out, a, body("good"))
			for dropped := 0; ; dropped++ {
				d := poll(t, l)
				if string(d.Body) == "good" {
					settle(t, d, messaging.Ack)
					break
				}
				t.Logf("%s: content type %q, %d bytes", h.name, d.ContentType, len(d.Body))
				if dropped > 2 {
					t.Fatalf("%s comes again and again", h.name)
				}
				settle(t, d, messaging.Drop)
			}
		}
		select {
		case <-in.Done():
			t.Errorf("it cost the connection: %v", in.Err())
		default:
		}
	})
}

func hostileAddresses() []string {
	return []string{
		"", "/", "absent", "/exchanges/absent/key", "/exchanges/", "/queues/", "/queues/%ZZ", "/queues/%ff", "/queues/%00", "/queues/a/b", "/exchanges/nowhere/x", "/topic/x", "amq.direct", "amq.direct/absent",
		"$management", "/management", "a::b", "%s%d%F", "\x00", strings.Repeat("x", 1000), strings.Repeat("/", 300), "/queues/" + strings.Repeat("x", 300),
	}
}

// TestHostileReplyAddresses: an address that a stranger gave for his reply costs nobody
// else anything, and not the connection.
func TestHostileReplyAddresses(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		a := topic()
		out := dial(t, b, "")
		l := listen(t, dial(t, b, ""), sources(a))
		m := body("x")
		m.Mandatory = out.Capabilities().Mandatory
		for _, address := range hostileAddresses() {
			err := send(t, out, messaging.Address{Kind: messaging.KindReply, Direct: address}, m)
			t.Logf("%.30q: %.150v", address, err)
			mustSend(t, out, a, body("good"))
			settle(t, poll(t, l), messaging.Ack)
		}
		select {
		case <-out.Done():
			t.Errorf("it cost the connection: %v", out.Err())
		default:
		}
	})
}

// TestRepliesAfterHostileOnes: a reply to an address that a stranger gave does not cost
// others theirs, which are sent after it without a wait.
func TestRepliesAfterHostileOnes(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		l := listen(t, dial(t, b, ""), messaging.Subscription{Reply: "r" + topic().Topic, Prefetch: 64})
		good := messaging.Address{Kind: messaging.KindReply, Direct: l.Address()}
		out := dial(t, b, "")
		mustSend(t, out, good, body("first")) // the links are there
		settle(t, poll(t, l), messaging.Ack)
		for _, address := range hostileAddresses() {
			strange := messaging.Address{Kind: messaging.KindReply, Direct: address}
			_ = out.Send(within(t, limit), strange, body("strange"), make(result, 1))
			for _, text := range []string{"one", "two", "three"} {
				mustSend(t, out, good, body(text))
			}
			for _, text := range []string{"one", "two", "three"} {
				if d := poll(t, l); string(d.Body) != text {
					t.Fatalf("after a reply to %.30q: %q came, want %q", address, d.Body, text)
				} else {
					settle(t, d, messaging.Ack)
				}
			}
		}
	})
}
