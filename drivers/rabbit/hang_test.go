package rabbit_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/internal/mutetest"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestUnanswered: a broker that lives and leaves something unanswered makes nobody
// wait for ever, and costs the connection at most.
func TestUnanswered(t *testing.T) {
	b := newBroker(t)
	at, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	s := mutetest.Suite{
		Target:   at.Host,
		Protocol: mutetest.Protocol{Head: 7, Size: frameSize},
		Open:     patient(mutetest.Patience),
		URL:      func(address string) string { return strings.Replace(b.url, at.Host, address, 1) },
	}
	for what, name := range map[uint32]string{
		10<<16 | 30: "connection.tune", 10<<16 | 41: "connection.open-ok", 10<<16 | 51: "connection.close-ok",
		20<<16 | 11: "channel.open-ok", 20<<16 | 21: "channel.flow-ok", 20<<16 | 41: "channel.close-ok", 40<<16 | 11: "exchange.declare-ok",
		50<<16 | 11: "queue.declare-ok", 50<<16 | 21: "queue.bind-ok", 50<<16 | 41: "queue.delete-ok",
		60<<16 | 11: "basic.qos-ok", 60<<16 | 21: "basic.consume-ok", 60<<16 | 31: "basic.cancel-ok", 60<<16 | 80: "basic.ack", 85<<16 | 11: "confirm.select-ok",
	} {
		s.Cases = append(s.Cases, mutetest.Case{Name: name, Is: func(frame []byte) bool {
			return frame[0] == 1 && len(frame) > 11 && binary.BigEndian.Uint32(frame[7:]) == what
		}})
	}
	s.Run(t)
}

// frameSize returns the size of a frame, or of a protocol header.
func frameSize(head []byte) (int, error) {
	if head[0] == 'A' {
		return 8, nil
	}
	return 7 + int(binary.BigEndian.Uint32(head[3:])) + 1, nil
}

// patient opens drivers with that much patience with a broker that does not answer.
func patient(patience time.Duration) messaging.Opener {
	return func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		d, codecs, err := rabbit.Open(u, o)
		if err == nil {
			rabbit.Hurry(d, patience)
		}
		return d, codecs, err
	}
}

// TestSlowLink: who takes what is sent, slowly, lives, however long a large message takes
// and whatever waits behind it.
func TestSlowLink(t *testing.T) {
	b := newBroker(t)
	at, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	slow := server(t, func(client net.Conn) {
		_ = client.(*net.TCPConn).SetReadBuffer(64 << 10)
		broker, err := net.Dial("tcp", at.Host)
		if err != nil {
			return
		}
		defer broker.Close()
		go func() { _, _ = io.Copy(client, broker) }()
		const piece = 64 << 10
		for passed := 0; err == nil && passed < 11<<20; passed += piece { // 2.5 MB a second
			_, err = io.CopyN(broker, client, piece)
			<-time.After(25 * time.Millisecond)
		}
		_, _ = io.Copy(broker, client) // what the system had taken is not slow, too
	})
	u, err := messaging.ParseURL(strings.Replace(b.url, at.Host, slow, 1))
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := patient(2*time.Second)(u, (*messaging.Options)(nil).WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := at.User.Password()
	c, err := d.Dial(within(t, limit), messaging.Endpoint{
		Host: u.Hosts[0].HostPort(),
		Credentials: func(context.Context) (messaging.Credentials, error) {
			return messaging.Credentials{Username: at.User.Username(), Password: password}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(within(t, limit))
	a, other := topic(), topic()
	mustSend(t, c, a, text("declares"))
	large := make(result, 1)
	if err := c.Send(t.Context(), a, text(strings.Repeat("x", 15<<20)), large); err != nil {
		t.Fatal(err)
	}
	mustSend(t, c, other, text("waits behind it, and so does its declaration"))
	if err := large.wait(t); err != nil {
		t.Errorf("outcome %v", err)
	}
}
