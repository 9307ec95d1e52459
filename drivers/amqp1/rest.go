package amqp1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/patchbay-go/patchbay/internal/tlsurl"
	"github.com/patchbay-go/patchbay/messaging"
)

// rest declares and deletes over Broker-J's REST port, with the credentials of the
// connection.
type rest struct {
	c     *conn
	host  string // what the virtual host is called there: its node, and it
	login messaging.Credentials
	tls   *tlsurl.Config // nil: the defaults
}

var _ declarer = (*rest)(nil)

// defaultVirtualHost is what Broker-J's own first configuration calls it.
const defaultVirtualHost = "default"

func newREST(c *conn, tlsConfig *tlsurl.Config, login messaging.Credentials) *rest {
	host := strings.Trim(c.o.management.EscapedPath(), "/")
	if host == "" {
		vhost := c.o.vhost
		if vhost == "" {
			vhost = defaultVirtualHost
		}
		vhost = url.PathEscape(vhost)
		host = vhost + "/" + vhost
	}
	return &rest{c: c, host: host, login: login, tls: tlsConfig}
}

// client returns one for one request, since the files of TLS may have been renewed.
func (r *rest) client() *http.Client {
	transport := &http.Transport{DisableKeepAlives: true, Proxy: discreet(http.ProxyFromEnvironment)}
	if r.tls != nil {
		transport.TLSClientConfig = r.tls.Current()
	}
	return &http.Client{Timeout: answerTime, Transport: transport}
}

// discreet keeps what a wrong address of a proxy holds, which may be a password, out of
// the error about it.
func discreet(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		u, err := proxy(r)
		if err != nil {
			return nil, errors.New("the proxy that the environment names is no URL")
		}
		return u, nil
	}
}

// declare makes a queue, as the policies that docs/brokers.md proposes do. One that is
// there stays as it is.
func (r *rest) declare(q *queue) error {
	attributes := map[string]any{"durable": true}
	if q.private {
		attributes = map[string]any{"durable": false, "lifetimePolicy": "DELETE_ON_NO_OUTBOUND_LINKS"}
	}
	return explainQueue(q.name, r.do(http.MethodPut, q.name, attributes, http.StatusOK, http.StatusCreated))
}

func (r *rest) remove(name string) error {
	return r.do(http.MethodDelete, name, nil, http.StatusOK, http.StatusNoContent, http.StatusNotFound)
}

// do makes one request about a queue, whose name the broker decodes twice.
func (r *rest) do(method, name string, attributes map[string]any, want ...int) error {
	at := *r.c.o.management
	at.RawPath = "/api/latest/queue/" + r.host + "/" + url.PathEscape(url.PathEscape(name))
	at.Path, _ = url.PathUnescape(at.RawPath) // it was escaped here
	var body bytes.Buffer
	if attributes != nil {
		if err := json.NewEncoder(&body).Encode(attributes); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.c.Context(), answerTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, at.String(), &body)
	if err != nil {
		return errors.Join(messaging.ErrPermanent, err)
	}
	request.Header.Set("Content-Type", "application/json")
	if r.login != (messaging.Credentials{}) {
		request.SetBasicAuth(r.login.Username, r.login.Password)
	}
	response, err := r.client().Do(request)
	if err != nil {
		return fmt.Errorf("asking the management of the broker (option management): %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxSaid)) // what there is of it
	for _, w := range want {
		if response.StatusCode == w {
			return nil
		}
	}
	return &statusError{method + " " + at.Path, strconv.Itoa(response.StatusCode), strings.TrimSpace(string(said))}
}

// maxSaid bounds what is read of an answer.
const maxSaid = 4 << 10
