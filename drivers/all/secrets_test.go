package all_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/internal/tlstest"
	"github.com/patchbay-go/patchbay/messaging"
)

// The two halves of every password here, either of which must never be seen.
const begins, ends = "S3cr", "eTt5"

// passwords has what stands between the halves, as somebody might write it in a URL.
func passwords() []string {
	var all []string
	for _, between := range []string{
		"", "%zz", "%", "%0A", "%00", "%25", "%22", `"`, "'", "\n", "\t", " ", `\`, "@", ":", "%40", "%2F", "+", "[", "]", "ü", "%FF", "=", "&", "$",
		"/", "?", "#", ",", ";", "://", "/@", "@/", "?a=b&",
	} {
		all = append(all, begins+between+ends)
	}
	// So far a port number, and the rest something else.
	for _, after := range []string{"/", "?", "#", "/a@", "/%40", "//"} {
		all = append(all, "12"+after+ends)
	}
	return append(all, begins+strings.Repeat("x", 300)+ends)
}

// shows reports whether a text shows a half of a password, in whatever encoding.
func shows(text string) bool {
	plain, _ := url.PathUnescape(text)
	for _, s := range []string{text, plain} {
		if strings.Contains(s, begins) || strings.Contains(s, ends) {
			return true
		}
	}
	return false
}

// log is what was logged.
type log struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// TestNoSecretOfABadURL: a URL that is not understood, or not as it was meant, is not
// quoted where it may hold a password.
func TestNoSecretOfABadURL(t *testing.T) {
	for _, password := range passwords() {
		for _, form := range []string{
			"rabbit://user:%s@127.0.0.1:1/", "amqp1://user:%s@127.0.0.1:1/vhost", "zmq+tls://user:%s@127.0.0.1:1/", "fake://user:%s@127.0.0.1:1/",
			"rabbit:user:%s@127.0.0.1:1/", "rabbit:/user:%s@127.0.0.1:1/", "rabbit:///user:%s@127.0.0.1:1/", "//user:%s@127.0.0.1:1/", "user:%s@127.0.0.1:1/",
			"amqp://user:%s@127.0.0.1:1/", "nosuchdriver://user:%s@127.0.0.1:1/", "rabbit://user:%s@127.0.0.1:port/", "rabbit://user:%s@[::1/", "rabbit://user:%s@a b/",
			"rabbit://user:%s@127.0.0.1:1/?nosuchoption=1", "rabbit://user:%s@127.0.0.1:1/?ssl=true&ssl_ca_file=/nowhere", "rabbit://user:%s@127.0.0.1:1/?wire=x",
			"amqp1://127.0.0.1:1/?management=http://user:%s@127.0.0.1:1/", "zmq://127.0.0.1:1/?discovery=redis&bind=127.0.0.1:0&redis_password=%s&discovery_lease=0",
			"zmq://127.0.0.1:1/?discovery=gossip&gossip_secret=%s",
		} {
			try(t, fmt.Sprintf(form, password), false)
		}
	}
}

// TestNoSecretToAPeer: who cannot connect does not say with what he tried, whoever is
// there instead of a broker.
func TestNoSecretToAPeer(t *testing.T) {
	peers := map[string]string{
		"nobody":   "127.0.0.1:1",
		"hangs up": peer(t, func(net.Conn) {}),
		"echo":     peer(t, func(c net.Conn) { _, _ = io.CopyN(c, c, 4<<10) }),
		"HTTP": peer(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno")
		}),
		"TLS": tlstest.Front(t, "127.0.0.1:1", tlstest.New(t).Pair(t, "127.0.0.1")),
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, address := range peers {
		for _, form := range []string{
			"rabbit://user:%s@%s/", "rabbit+tls://user:%s@%s/", "rabbit://user:%s@%s/?rabbit_login_method=PLAIN", "amqp1://user:%s@%s/", "amqp1+tls://user:%s@%s/",
			"zmq://user:%s@%s/?connect_timeout=0.2", "zmq+tls://user:%s@%s/?connect_timeout=0.2", "zmq://%[2]s/?discovery=redis&bind=127.0.0.1:0&redis_password=%[1]s",
			"zmq://%[2]s/?discovery=redis&bind=127.0.0.1:0&redis_tls=true&redis_username=user&redis_password=%[1]s",
		} {
			for _, between := range []string{"", "%0A", "%00", `"`, "%zz", strings.Repeat("x", 300)} {
				all.Go(func() { try(t, fmt.Sprintf(form, begins+between+ends, address), true) })
			}
		}
	}
}

// try does what an application does with a URL.
func try(t *testing.T, rawURL string, connect bool) {
	t.Helper()
	said := &log{}
	hear := func(v any) { fmt.Fprintf(said, "%v\n%+v\n%#v\n", v, v, v) }
	if u, err := messaging.ParseURL(rawURL); err != nil {
		hear(err)
	} else {
		hear(u)
		hear(*u)
		text, _ := json.Marshal(u)
		_, _ = said.Write(text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	tr, err := all.Registry().Open(ctx, rawURL, &messaging.Options{Logger: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err == nil {
		var failed error
		if connect {
			failed = errors.Join(tr.Connect(ctx), tr.Send(ctx, topic, &messaging.Envelope{Method: "m", Body: []byte("{}")}, nil))
		}
		err = errors.Join(failed, tr.Close(context.WithoutCancel(ctx)))
	}
	if err != nil {
		hear(err)
	}
	if text := said.String(); shows(text) {
		lines := strings.Split(text, "\n")
		t.Errorf("of %q is said: %s", rawURL, lines[max(0, slices.IndexFunc(lines, shows))])
	}
}

// peer returns the address of a server that calls f for each connection.
func peer(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}
