package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/internal/jsontext"
	"github.com/patchbay-go/patchbay/internal/lazyctx"
	"github.com/patchbay-go/patchbay/internal/requestctx"
	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/messaging"
)

// Call calls method and decodes its result into reply, a pointer; nil ignores
// the result. args is a struct, a map, nil or whatever encodes as a JSON object.
//
// It waits for the reply until ctx ends or ClientOptions.Timeout passes. A
// failure of the remote handler is a *RemoteError. Else the error matches what
// docs/semantics.md says of how a call ends:
//   - messaging.ErrTimeout, which is context.DeadlineExceeded: the request was
//     sent, and the deadline passed without a reply; it may still be executed
//   - context.Canceled, or the cause of ctx: the caller gave up; likewise
//   - messaging.ErrNotSent: nothing reached the peer, since no connection could
//     be had within the deadline (messaging.ErrConnect) or it was refused at once
//   - messaging.ErrNoRoute: nobody listens, if the client has Mandatory or there
//     is no broker; messaging.ErrRejected: the peer refused the request
//   - messaging.ErrOutcomeUnknown, ErrServerLost, ErrReplyLost: what would have
//     answered was lost; it may be executed
func (c *Client) Call(ctx context.Context, method string, args, reply any) error {
	if err := c.perform(ctx, PatternCall, method, args, reply, nil); err != nil {
		return c.opError(PatternCall, method, err)
	}
	return nil
}

// CallFor is Call with a typed result.
func CallFor[R any](ctx context.Context, c *Client, method string, args any) (R, error) {
	var r R
	err := c.Call(ctx, method, args, &r)
	return r, err
}

// Cast sends a request that nobody answers and waits until the peer accepted
// it, which says nothing of its handling.
func (c *Client) Cast(ctx context.Context, method string, args any) error {
	return c.cast(ctx, c.castPattern(), method, args)
}

// Fanout casts to every server of the topic. It waits until the peer accepted
// the request; that no server is there is no error, unless the client has Mandatory
// and the peer can tell.
func (c *Client) Fanout(ctx context.Context, method string, args any) error {
	return c.cast(ctx, PatternFanout, method, args)
}

// StartCast is Cast without the wait: it returns once the request is handed
// over, and the Receipt tells the outcome. Many casts can be on their way so;
// the transport's window bounds them. Middleware sees the handing over only.
func (c *Client) StartCast(ctx context.Context, method string, args any) (*messaging.Receipt, error) {
	var receipt *messaging.Receipt
	err := c.perform(ctx, c.castPattern(), method, args, nil, &receipt)
	if err == nil && receipt == nil {
		err = fmt.Errorf("%w: middleware kept the request", messaging.ErrNotSent)
	}
	if err != nil {
		return nil, c.opError(c.castPattern(), method, err)
	}
	return receipt, nil
}

// Ping calls the server's ping method; nil means that one answered "pong". An
// error that is ErrNoSuchMethod or ErrUnsupportedVersion means that a server is there which does
// not answer pings. Namespace, version and version cap of c do not matter.
func (c *Client) Ping(ctx context.Context) error {
	p := c.Prepare(WithNamespace(""), WithVersion(""), func(c *Client) { c.opts.VersionCap = "" })
	var pong string
	if err := p.Call(ctx, PingMethod, nil, &pong); err != nil {
		return err
	}
	if pong != "pong" {
		return p.opError(PatternCall, PingMethod, fmt.Errorf("unexpected answer %.40q", pong))
	}
	return nil
}

func (c *Client) castPattern() Pattern {
	if c.target.Fanout {
		return PatternFanout
	}
	return PatternCast
}

func (c *Client) cast(ctx context.Context, p Pattern, method string, args any) error {
	if err := c.perform(ctx, p, method, args, nil, nil); err != nil {
		return c.opError(p, method, err)
	}
	return nil
}

// outgoing is a request on its way through a client. Without middleware nobody
// keeps it, and it is used again.
type outgoing struct {
	Request
	envelope messaging.Envelope
	buffer   *jsontext.Buffer // which Args is in, of the default encoding
}

// perform checks and encodes a request, sends it through the middleware, and decodes
// the result.
func (c *Client) perform(ctx context.Context, p Pattern, method string, args, reply any, receipt **messaging.Receipt) error {
	values := requestctx.Of(ctx)
	switch {
	case c.err != nil:
		return c.err
	case p == PatternCall && c.target.Fanout:
		return fmt.Errorf("%w: a fanout cannot be called", messaging.ErrInvalidTarget)
	case method == "":
		return fmt.Errorf("%w: no name", ErrNoSuchMethod)
	case values.Err != nil:
		return values.Err
	}
	out := c.newOutgoing()
	defer c.release(out)
	out.Request = Request{
		Pattern:   p,
		Side:      ClientSide,
		Target:    c.target,
		Method:    method,
		Namespace: c.target.Namespace,
		Version:   c.target.Version,
		Context:   values.Entries[:len(values.Entries):len(values.Entries)],
		client:    c,
		receipt:   receipt,
	}
	out.Target.Fanout = p == PatternFanout
	if err := c.encodeArgs(out, args); err != nil {
		return fmt.Errorf("%w: %w", ErrBadArguments, err)
	}
	if len(c.opts.Middleware) == 0 {
		out.Request.envelope = &out.envelope // else middleware may send it more than once at a time
	}
	ctx, own := c.bound(ctx)
	if own != nil {
		defer own.End(nil)
	}
	result, err := c.invoke(ctx, &out.Request)
	if err != nil {
		return err
	}
	if reply != nil {
		if err := c.opts.Encoding.Unmarshal(result, reply); err != nil {
			return fmt.Errorf("result %w: %w", messaging.ErrUndecodable, err)
		}
	}
	if _, copies := c.opts.Encoding.(*JSON); copies && out.answer != nil {
		out.answer.Release()
	}
	return nil
}

// encodeArgs sets the JSON object for args.
func (c *Client) encodeArgs(out *outgoing, args any) (err error) {
	switch args.(type) {
	case nil, None, *None:
		out.Args = json.RawMessage("{}")
		return nil
	}
	if j, ok := c.opts.Encoding.(*JSON); ok {
		out.buffer, out.Args, err = j.codec.Encode(args)
	} else {
		out.Args, err = c.opts.Encoding.Marshal(args)
	}
	out.Args = bytes.TrimSpace(out.Args) // raw ones may come from a file
	switch {
	case err != nil:
		return err
	case string(out.Args) == "null": // a nil map or pointer
		out.Args = json.RawMessage("{}")
	case len(out.Args) == 0 || out.Args[0] != '{':
		return fmt.Errorf("%T does not encode as a JSON object", args)
	}
	return nil
}

// bound returns ctx, or, if it has no earlier deadline, one with the client's
// timeout, which is to be ended. Middleware may return while others still wait for it.
func (c *Client) bound(ctx context.Context) (context.Context, *lazyctx.Context) {
	deadline := time.Now().Add(c.opts.Timeout)
	if d, ok := ctx.Deadline(); ok && !d.After(deadline) {
		return ctx, nil
	}
	own := &lazyctx.Private{}
	own.Init(ctx, deadline)
	if len(c.opts.Middleware) > 0 {
		return &own.Context, &own.Context
	}
	return own, &own.Context
}

func (c *Client) newOutgoing() *outgoing {
	if out, ok := c.requests.Get().(*outgoing); ok {
		return out
	}
	return &outgoing{}
}

// release frees what a request that is over held. Middleware that returned with the
// first of several answers may still be sending the others.
func (c *Client) release(out *outgoing) {
	if len(c.opts.Middleware) > 0 {
		return
	}
	if out.buffer != nil {
		c.opts.Encoding.(*JSON).codec.Free(out.buffer)
	}
	*out = outgoing{}
	c.requests.Put(out)
}

// transmit is the innermost Invoker of a client: it sends, and waits.
func transmit(ctx context.Context, r *Request) (json.RawMessage, error) {
	c := r.client
	if !c.allows(r.Version) {
		return nil, fmt.Errorf("%w: version %q, cap %q", ErrVersionCap, r.Version, c.opts.VersionCap)
	}
	e := r.envelope
	own := e != nil
	if !own {
		e = &messaging.Envelope{}
	}
	e.Kind, e.Method, e.Namespace, e.Version = messaging.KindRPC, r.Method, r.Namespace, r.Version
	e.Context, e.Body = r.Context, r.Args
	if r.Pattern != PatternCall {
		return nil, c.transmitCast(ctx, r, e)
	}
	e.Monitor = c.opts.Monitor
	reply, err := c.transport.Request(ctx, c.address, e, &c.send)
	if err != nil {
		return nil, err
	}
	if reply.Failed {
		return nil, decodeFailure(reply.Body).resolve(c.opts.Errors)
	}
	if own {
		r.answer = reply
	}
	return reply.Body, nil
}

func (c *Client) transmitCast(ctx context.Context, r *Request, e *messaging.Envelope) error {
	to := c.address
	if r.Pattern == PatternFanout {
		to = c.fanout
	}
	if r.receipt == nil {
		return c.transport.Send(ctx, to, e, &c.send)
	}
	receipt, err := c.transport.Start(ctx, to, e, &c.send)
	*r.receipt = receipt
	return err
}

// opError says which operation failed, and where. The core's error says that
// too, but not the method: the two become one.
func (c *Client) opError(p Pattern, method string, err error) error {
	to := c.address
	if p == PatternFanout {
		to = c.fanout
	}
	op := [...]string{PatternCall: "calling", PatternCast: "casting", PatternFanout: "fanning out"}[p]
	e := &messaging.OpError{Op: fmt.Sprintf("%s %q on", op, serving.Truncate(method, 100)), Addr: to.String(), Err: err}
	if inner, ok := err.(*messaging.OpError); ok && inner.Addr == e.Addr { //nolint:errorlint // only the outermost
		e.Err = inner.Err
	}
	return e
}
