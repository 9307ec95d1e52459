// Package notify tells whoever wants to know what happened: a Notifier publishes
// notifications, a Listener receives those of its topics and priorities. The
// model, its words and, on the oslo wire, every byte are those of OpenStack's
// oslo.messaging, so either end may be a Python program.
//
//	notifier := notify.NewNotifier("volume.host1", []notify.Driver{notify.Messaging(transport, nil)}, nil)
//	err := notifier.Info(ctx, "volume.create.end", Volume{ID: "v-42", Size: 10})
//
//	ep := &notify.Endpoint{Filter: notify.Filter{EventType: `volume\.`}}
//	notify.Handle(ep, notify.Info, func(ctx context.Context, n *notify.Notification, v Volume) error {
//		return store(ctx, n.EventType, v)
//	})
//	listener, err := notify.NewListener(transport, []messaging.Target{{Topic: "notifications"}}, []*notify.Endpoint{ep}, nil)
//	err = listener.Serve(ctx) // until ctx ends, then drains
//
// The first example below is the whole program.
//
// # The model
//
// A notification has an event type, a publisher, a payload and a Priority. It is
// published to one or more topics; topic and priority together are an address,
// "notifications.info", which has a queue. Listeners of an address share its
// queue: each notification is handled by one of them. ListenerOptions.Pool gives a
// set of listeners a queue of its own, with its own copy of everything, and
// ListenerOptions.Tap gives one to a single listener for as long as it is there.
//
// Publishing declares the queue of the address, so that nothing is lost before
// there is a listener. A queue that nobody ever reads grows.
//
// Inside a listener every Endpoint gets a notification that has a handler for its
// priority and a Filter that lets it through, in order.
//
// # What is guaranteed
//
// Publishing tells its outcome, which oslo.messaging only logs: who does not care
// ignores the error, and who must not wait uses a Queue. It ends by ctx's deadline
// or MessagingOptions.Timeout, whichever is earlier. Until then, or for
// MessagingOptions.Retry more times, what was surely not sent is sent again; what
// may have been sent is not, and is messaging.ErrOutcomeUnknown.
//
// Handling is at least once: a notification is acknowledged when its handlers have
// returned. Then nil is oslo.messaging's HANDLED and an error its REQUEUE: with
// ListenerOptions.AllowRequeue it comes again, after ListenerOptions.RequeueDelay,
// doubled each time, so that it never loops hot, until
// ListenerOptions.MaxAttempts; without, it is logged and acknowledged. All
// handlers get it again, those that had succeeded too. What was in hand when the
// listener died comes to another one.
//
// Of the request context (rpc.NewContext) travels what SafeContext lets through,
// since everybody on the bus can read it: see NotifierOptions.Context. A handler's
// ctx has what came.
package notify
