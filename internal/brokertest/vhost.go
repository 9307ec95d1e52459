package brokertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// VHost creates a virtual host for this test alone and returns the transport
// URL that reaches it, so that tests that share a broker share no queue. The
// virtual host is removed, with all that is left in it, when the test ends.
func (b *Broker) VHost(tb testing.TB) string {
	tb.Helper()
	name := "test-" + strings.ToLower(rand.Text()[:10])
	ctx := context.WithoutCancel(tb.Context())
	if err := b.mgmt.createVHost(ctx, name); err != nil {
		tb.Fatalf("brokertest: %s: creating a virtual host: %v", b, err)
	}
	tb.Cleanup(func() {
		if err := b.mgmt.delete(ctx, "vhosts/"+name); err != nil {
			tb.Errorf("brokertest: %s: removing the test's virtual host: %v", b, err)
		}
	})
	u := b.amqp
	u.Path = "/" + name
	return transportURL(u)
}

// User creates a user for this test alone, with all rights on the virtual host
// of a URL that VHost returned, and returns the URL with its credentials.
func (b *Broker) User(tb testing.TB, vhostURL, password string) string {
	tb.Helper()
	u, err := url.Parse(vhostURL)
	if err != nil {
		tb.Fatalf("brokertest: %s: %v", b, err)
	}
	name := "user-" + strings.ToLower(rand.Text()[:10])
	ctx := context.WithoutCancel(tb.Context())
	if err := b.mgmt.createUser(ctx, name, password, strings.TrimPrefix(u.Path, "/")); err != nil {
		tb.Fatalf("brokertest: %s: creating a user: %v", b, err)
	}
	tb.Cleanup(func() {
		if err := b.mgmt.delete(ctx, "users/"+name); err != nil {
			tb.Errorf("brokertest: %s: removing the test's user: %v", b, err)
		}
	})
	u.User = url.UserPassword(name, password)
	return u.String()
}

// management is RabbitMQ's HTTP API: a request takes milliseconds where
// rabbitmqctl starts a virtual machine first.
type management struct {
	base     string // with /api, without a slash at its end
	user     string
	password string
}

func (m management) createVHost(ctx context.Context, name string) error {
	if err := m.do(ctx, http.MethodPut, "vhosts/"+name, `{}`); err != nil {
		return err
	}
	return m.permit(ctx, name, m.user)
}

func (m management) createUser(ctx context.Context, name, password, vhost string) error {
	body, err := json.Marshal(map[string]string{"password": password, "tags": ""})
	if err != nil {
		return err
	}
	if err := m.do(ctx, http.MethodPut, "users/"+name, string(body)); err != nil {
		return err
	}
	return m.permit(ctx, vhost, name)
}

func (m management) permit(ctx context.Context, vhost, user string) error {
	return m.do(ctx, http.MethodPut, "permissions/"+vhost+"/"+url.PathEscape(user),
		`{"configure":".*","write":".*","read":".*"}`)
}

func (m management) get(ctx context.Context, path string) error {
	return m.do(ctx, http.MethodGet, path, "")
}

func (m management) delete(ctx context.Context, path string) error {
	return m.do(ctx, http.MethodDelete, path, "")
}

func (m management) do(ctx context.Context, method, path, body string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, m.base+"/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth(m.user, m.password)
	r.Header.Set("Content-Type", "application/json")
	// No kept connection: its goroutines would look like a leak of the test.
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return fmt.Errorf("management API: %w", err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode >= 300 {
		return fmt.Errorf("management API: %s %s: %s %s", method, path, resp.Status, strings.TrimSpace(string(answer)))
	}
	return nil
}
