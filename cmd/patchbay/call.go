package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// defaultTimeout bounds a command of a client: somebody sits and waits.
const defaultTimeout = 5 * time.Second

// request is what call, cast and ping have in common: whom they talk to.
type request struct {
	app       *app
	conn      *connection
	target    messaging.Target
	timeout   time.Duration
	monitor   time.Duration
	mandatory bool
	context   []string
	given     func(flag string) bool // on the command line
	patient   bool                   // without --timeout, the configuration's rpc_response_timeout counts
}

// newRequest adds the flags of a command that talks to a server.
func (a *app) newRequest(cmd *cobra.Command) *request {
	r := &request{app: a, conn: a.addConnectionFlags(cmd), given: cmd.Flags().Changed}
	addTargetFlags(cmd, &r.target)
	return r
}

// addRequestFlags adds the flags of a command that sends a method.
func (r *request) addRequestFlags(cmd *cobra.Command) {
	r.patient = true
	addEndpointFlags(cmd, &r.target, "")
	cmd.Flags().BoolVar(&r.mandatory, "mandatory", false, "fail at once, with exit code 4, when nobody listens there")
	cmd.Flags().Var(positive{&r.monitor}, "monitor", "fail when the server gives no sign of life for this long (calls only)")
	cmd.Flags().StringArrayVar(&r.context, "context", nil, "`k=v` or k:=json to send in the request's context; repeatable")
}

// do opens the transport and lets fn use a client, and a context that carries
// the request context.
func (r *request) do(ctx context.Context, fn func(context.Context, *rpc.Client) error) error {
	open, err := r.conn.resolve(false)
	if err != nil {
		return err
	}
	if r.patient && r.conn.conf != nil && !r.given("timeout") {
		r.timeout = r.conn.conf.ResponseTimeout
	}
	values, err := parsePairs("--context", r.context)
	if err != nil {
		return err
	}
	for _, v := range values {
		ctx = rpc.NewContext(ctx, v.key, v.value) //nolint:fatcontext // as many as the user typed
	}
	return r.app.withTransport(ctx, open, quiet, func(t *messaging.Transport) error {
		return fn(ctx, rpc.NewClient(t, r.target, &rpc.ClientOptions{
			Timeout:   r.timeout,
			Monitor:   r.monitor,
			Mandatory: r.mandatory,
		}))
	})
}

// wantMethod is the rule for the arguments of call and cast.
func wantMethod(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "" || strings.Contains(args[0], "=") {
		return usagef("no METHOD before the arguments; see %q", cmd.CommandPath()+" --help")
	}
	return nil
}

// parseMethod reads METHOD [name=string | name:=json]...
func parseMethod(args []string) (method string, body json.RawMessage, err error) {
	fields, err := parsePairs("argument", args[1:])
	if err != nil {
		return "", nil, err
	}
	body, err = object(fields...)
	return args[0], body, err
}

func (a *app) callCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "call --url URL --topic TOPIC METHOD [name=string | name:=json]...",
		Short: "Call a method and print its result",
		Long: `Call a method of one of the servers of a topic, or with --server of that server
and no other, wait for the reply and print it as {"result":…}.

An argument is name=string, or name:=json for anything else: numbers, true,
null, lists, objects. The result's JSON is printed as it came, with all digits.

Without --mandatory a call to nobody waits for its timeout (exit 3), as a server
may be about to start; with it, and over zmq:// in any case, the call fails at
once (exit 4). With --monitor the server must send a sign of life within each
such period: a call may then take long, and still fail soon after its server
died.`,
		Example: `  patchbay call --url rabbit://guest:guest@localhost/ --topic calculator add a:=2 b:=3
  {"result":5}

  patchbay call --topic volume --exchange cinder --server host1 --version 1.15 \
      --context user=ann --timeout 60s --monitor 10s delete_volume volume_id=42-17`,
		Args: wantMethod,
	}
	r := a.newRequest(cmd)
	r.addRequestFlags(cmd)
	addTimeoutFlag(cmd, &r.timeout, defaultTimeout, "give up after this long, connecting included")
	cmd.RunE = a.action(func(ctx context.Context, args []string) error {
		method, body, err := parseMethod(args)
		if err != nil {
			return err
		}
		return r.do(ctx, func(ctx context.Context, c *rpc.Client) error {
			var result json.RawMessage
			if err := c.Call(ctx, method, body, &result); err != nil {
				return err
			}
			return a.stdout.print(field{"result", result})
		})
	})
	return cmd
}
