package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
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

// pyClient is a Python process that sends requests; it is safe for concurrent use.
type pyClient struct {
	*process
	lastID *atomic.Int64
}

func startPyClient(t *testing.T, url string) pyClient {
	t.Helper()
	return pyClient{startPython(t, "py_client.py", "--url", url), new(atomic.Int64)}
}

// command is a request as py_client.py reads it.
type command struct {
	ID        int64    `json:"id"`
	Do        string   `json:"do"`
	Query     string   `json:"query"`
	Topic     string   `json:"topic"`
	Server    string   `json:"server,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
	Version   string   `json:"version,omitempty"`
	Method    string   `json:"method"`
	Args      string   `json:"args,omitempty"`
	Context   string   `json:"context,omitempty"`
	Timeout   float64  `json:"timeout"`
	Monitor   int      `json:"monitor,omitempty"`
	Cap       string   `json:"cap,omitempty"`
	Mandatory bool     `json:"mandatory"`
	Exmods    []string `json:"exmods"`
}

func newCommand(t *testing.T, r request) command {
	t.Helper()
	c := command{
		Do: orElse(r.do, "call"), Query: r.query, Topic: r.topic, Server: r.server, Namespace: r.namespace, Version: r.version,
		Method: r.method, Args: r.args, Timeout: orElse(r.timeout, patience).Seconds(),
		Monitor: int(r.monitor / time.Second), Cap: r.versionCap, Mandatory: r.mandatory, Exmods: []string{},
	}
	if r.context != nil {
		text, err := json.Marshal(r.context)
		if err != nil {
			t.Fatal(err)
		}
		c.Context = string(text)
	}
	return c
}

// run has a command done and returns the event that tells how it went.
func (c pyClient) run(t *testing.T, cmd command) event {
	t.Helper()
	return c.finish(t, c.start(t, cmd))
}

// start gives the client a command and returns the command's id.
func (c pyClient) start(t *testing.T, cmd command) int64 {
	t.Helper()
	cmd.ID = c.lastID.Add(1)
	line, err := json.Marshal(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.stdin.Write(append(line, '\n')); err != nil {
		t.Fatalf("giving the Python client a command: %v", err)
	}
	return cmd.ID
}

// finish returns the event that tells how a command went.
func (c pyClient) finish(t *testing.T, id int64) event {
	t.Helper()
	return c.await(t, fmt.Sprintf("done with command %d", id), func(e event) bool { return e.Event == "done" && e.ID == id })
}

func (c pyClient) send(t *testing.T, r request) outcome {
	t.Helper()
	return c.run(t, newCommand(t, r)).outcome()
}

// outcome tells what the exception of a command stands for.
func (e event) outcome() outcome {
	if e.Error == nil {
		return outcome{kind: "ok", result: e.Result}
	}
	switch text, _, _ := strings.Cut(e.Error.Message, "\n"); {
	case e.Error.Class == "RemoteError":
		return outcome{kind: "remote", class: e.Error.RemoteClass, message: e.Error.RemoteMessage}
	case e.Error.Module == "builtins":
		return outcome{kind: "remote", class: e.Error.Class, message: text}
	case e.Error.Class == "MessagingTimeout":
		return outcome{kind: timedOut}
	case e.Error.Class == "MessageUndeliverable":
		return outcome{kind: noRoute}
	case e.Error.Class == "RPCVersionCapError":
		return outcome{kind: cappedOut}
	}
	return outcome{kind: e.Error.String()}
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
	return messaging.Registry{"amqp1": amqp1.Open, "rabbit": rabbit.Open}.Open(ctx, url, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
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

// vhost returns the URL of a virtual host of the test's own.
func vhost(t *testing.T) string {
	t.Helper()
	return brokertest.RabbitMQ(t, "4.0").VHost(t)
}

func startPyServer(t *testing.T, url, topic, server string, options ...string) *process {
	t.Helper()
	args := []string{
		"--url", url, "--topic", topic, "--server", server,
		// How long its end waits for callers that left before their replies came.
		"--conf", "oslo_messaging_rabbit.kombu_missing_consumer_retry_timeout=1",
	}
	return startPython(t, "py_server.py", append(args, options...)...)
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
