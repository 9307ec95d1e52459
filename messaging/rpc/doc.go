// Package rpc calls methods of remote services over a messaging.Transport: a
// Client sends requests to a target, a Server listens on one and dispatches
// them to endpoints. The model, its words and, on the oslo wire, every byte are
// those of OpenStack's oslo.messaging, so either end may be a Python program.
//
//	transport, err := registry.Open(ctx, "rabbit://guest:guest@localhost:5672/", nil)
//
//	ep := &rpc.Endpoint{Version: "1.1"}
//	rpc.Handle(ep, "add", func(ctx context.Context, a Add) (int, error) { return a.X + a.Y, nil })
//	server, err := rpc.NewServer(transport, messaging.Target{Topic: "calc", Server: "host1"}, []*rpc.Endpoint{ep}, nil)
//	err = server.Serve(ctx) // until ctx ends, then drains
//
//	client := rpc.NewClient(transport, messaging.Target{Topic: "calc", Version: "1.0"}, nil)
//	sum, err := rpc.CallFor[int](ctx, client, "add", Add{X: 2, Y: 3})
//
// The first example below is the whole program.
//
// # The model
//
// A server listens on three addresses at once: its topic, its own name within
// the topic, and the topic's fanout. So a request goes
//
//   - to a topic: exactly one of the servers listening there handles it;
//   - to a topic and a server (WithServer): that server and no other;
//   - to the fanout of a topic (Client.Fanout): every server handles its own copy.
//
// A call waits for the reply of the one server that handled it. A cast does
// not: its error tells whether the broker took the request, never what became
// of it. A fanout is a cast.
//
// Inside a server, namespace and version of the request choose the Endpoint: the
// first, in order, that accepts the namespace, can serve the version and has
// the method. A version can be served by the same major and an equal or newer
// minor version.
//
// A request context, entries that NewContext adds to a context.Context, travels
// with every request, and on to the requests that its handler sends.
//
// # What is guaranteed
//
// Time. Every operation ends by ctx's deadline or ClientOptions.Timeout (60 s),
// whichever is earlier. What is left of it travels with a call on the native
// wire: the handler's context has that deadline, and a server does not begin a
// request whose caller has given up. The oslo wire cannot carry it.
//
// Failures of a call can be told apart with errors.Is and errors.As: nobody
// listens (messaging.ErrNoRoute, with Mandatory or without a broker), the server
// went away (messaging.ErrServerLost, with Monitor or without a broker), no reply in time
// (messaging.ErrTimeout), the handler failed (*RemoteError). ErrOutcomeUnknown
// means that the request may or may not be handled; nothing that may have been
// sent is sent twice.
//
// Acknowledgement. A server acknowledges before the handler runs (AckEarly): a
// request is handled at most once, unless the connection is lost before the
// acknowledgement arrives. Or after it (AckLate): a request whose server died
// is handled by another one, so at least once. A handler's error is a result,
// not a reason to try again; Requeue is, for casts, with AckLate.
//
// Heartbeats. With ClientOptions.Monitor a server sends one every half of it
// while it handles the call, none after the reply. The handler's context is
// cancelled when its caller is gone: because it gave up the call (its cause is
// context.Canceled; a Python client does not tell), or because heartbeats cannot
// be delivered any more (messaging.ErrReplyRefused, messaging.ErrClosed).
// Heartbeats begin when the handler does: a request that waits for a worker for
// longer than the monitor is lost to its caller.
//
// Drain. Server.Stop returns what was prefetched, unharmed, to the broker;
// Server.Wait lets handlers end and sends their replies, and tells how many were
// left if it may wait no longer.
//
// Errors. What a handler returns travels as class, module, message and
// arguments, as Classed and NewError say; a panic is recovered, logged and
// travels too. A result that cannot be encoded becomes a failure, never silence.
package rpc
