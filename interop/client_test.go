package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/drivers/amqp1"
	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// request is a request in words that clients of both languages understand.
type request struct {
	do                                string // "call" when empty
	topic, server, namespace, version string
	method                            string
	args                              string // JSON text
	context                           map[string]any
	timeout                           time.Duration // patience when 0
	monitor                           time.Duration
	versionCap                        string
	mandatory                         bool
	query                             string // of a Python client's URL
}

// outcome is what a client of either language sees of a request.
type outcome struct {
	kind    string // "ok", "remote", or one of the failures below
	result  string // JSON text
	class   string // of the exception, and its text without traceback
	message string
}

const (
	timedOut  = "timed out"
	noRoute   = "no route"
	cappedOut = "version cap"
)

// client sends requests, in the manner of its language.
type client interface {
	send(t *testing.T, r request) outcome
}

// pyClient sends requests with oslo.messaging.
type pyClient struct {
	*peer
	url string
}

func (c pyClient) command(t *testing.T, r request) command {
	t.Helper()
	cmd := command{
		Do: orElse(r.do, "call"), URL: c.url + r.query, Topic: r.topic, Server: r.server, Namespace: r.namespace, Version: r.version,
		Method: r.method, Args: r.args, Timeout: orElse(r.timeout, patience).Seconds(),
		Monitor: int(r.monitor / time.Second), Cap: r.versionCap, Mandatory: r.mandatory,
	}
	if r.context != nil {
		text, err := json.Marshal(r.context)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Context = string(text)
	}
	return cmd
}

func (c pyClient) send(t *testing.T, r request) outcome {
	t.Helper()
	return c.run(t, c.command(t, r)).outcome()
}

// goClient sends requests with this module.
type goClient struct{ transport *messaging.Transport }

// open returns a transport of its own, as another process would have.
func open(t *testing.T, url string) *messaging.Transport {
	t.Helper()
	transport, err := dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = transport.Close(context.WithoutCancel(t.Context())) })
	return transport
}

func dial(ctx context.Context, url string) (*messaging.Transport, error) {
	return messaging.Registry{"amqp1": amqp1.Open, "rabbit": rabbit.Open}.Open(ctx, url, &messaging.Options{
		Logger: slog.New(slog.DiscardHandler), ReplyWindow: time.Second, // for callers that left
	})
}

func (c goClient) client(r request) *rpc.Client {
	target := messaging.Target{Topic: r.topic, Server: r.server, Namespace: r.namespace, Version: r.version}
	return rpc.NewClient(c.transport, target, &rpc.ClientOptions{
		Timeout: orElse(r.timeout, patience), Monitor: r.monitor, VersionCap: r.versionCap, Mandatory: r.mandatory,
	})
}

// try sends a request and returns its result as it came.
func (c goClient) try(t *testing.T, r request) (json.RawMessage, error) {
	t.Helper()
	ctx := t.Context()
	for key, value := range r.context {
		ctx = rpc.NewContext(ctx, key, value) //nolint:fatcontext // a few entries
	}
	args := json.RawMessage(orElse(r.args, "{}"))
	switch r.do {
	case "cast":
		return json.RawMessage("null"), c.client(r).Cast(ctx, r.method, args)
	case "fanout":
		return json.RawMessage("null"), c.client(r).Fanout(ctx, r.method, args)
	case "can_send":
		return json.RawMessage(strconv.FormatBool(c.client(r).CanSendVersion(""))), nil
	}
	return rpc.CallFor[json.RawMessage](ctx, c.client(r), r.method, args)
}

func (c goClient) send(t *testing.T, r request) outcome {
	t.Helper()
	result, err := c.try(t, r)
	var remote *rpc.RemoteError
	switch {
	case err == nil:
		return outcome{kind: "ok", result: string(result)}
	case errors.As(err, &remote):
		return outcome{kind: "remote", class: remote.Class, message: remote.Message}
	case errors.Is(err, messaging.ErrTimeout):
		return outcome{kind: timedOut}
	case errors.Is(err, messaging.ErrNoRoute):
		return outcome{kind: noRoute}
	case errors.Is(err, rpc.ErrVersionCap):
		return outcome{kind: cappedOut}
	}
	return outcome{kind: err.Error()}
}

// versionVariable chooses the version of RabbitMQ, for all tests but those that have
// several. Default: 4.0.
const versionVariable = "PATCHBAY_INTEROP_RABBITMQ"

// vhost returns the URL of a virtual host of the test's own.
func vhost(t *testing.T) string {
	t.Helper()
	return brokertest.RabbitMQ(t, orElse(os.Getenv(versionVariable), "4.0")).VHost(t)
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
