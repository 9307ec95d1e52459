package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Volume is the payload of the examples.
type Volume struct {
	ID   string `json:"id"`
	Size int    `json:"size"`
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	registry := messaging.Registry{"fake": fake.New(nil).Open}
	transport, err := registry.Open(ctx, "fake://", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer transport.Close(ctx)

	ep := &notify.Endpoint{Filter: notify.Filter{EventType: `volume\.`}}
	handled := make(chan bool)
	notify.Handle(ep, notify.Info, func(_ context.Context, n *notify.Notification, v Volume) error {
		fmt.Println(n.PublisherID, n.EventType, v.ID, v.Size)
		handled <- true
		return nil
	})
	listener, err := notify.NewListener(transport, []messaging.Target{{Topic: "notifications"}}, []*notify.Endpoint{ep}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := listener.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer listener.Wait(ctx)

	notifier := notify.NewNotifier("volume.host1", []notify.Driver{notify.Messaging(transport, nil)}, nil)
	if err := notifier.Info(ctx, "volume.create.end", Volume{ID: "v-42", Size: 10}); err != nil {
		log.Fatal(err)
	}
	<-handled
	// Output: volume.host1 volume.create.end v-42 10
}

// open returns a transport in memory, and a notifier on it.
func open(ctx context.Context) (*messaging.Transport, *notify.Notifier) {
	transport, err := messaging.Registry{"fake": fake.New(nil).Open}.Open(ctx, "fake://", nil)
	if err != nil {
		log.Fatal(err)
	}
	return transport, notify.NewNotifier("volume.host1", []notify.Driver{notify.Messaging(transport, nil)}, nil)
}

// listen starts a listener on topic "notifications".
func listen(ctx context.Context, t *messaging.Transport, opts *notify.ListenerOptions, eps ...*notify.Endpoint) *notify.Listener {
	l, err := notify.NewListener(t, []messaging.Target{{Topic: "notifications"}}, eps, opts)
	if err == nil {
		err = l.Start(ctx)
	}
	if err != nil {
		log.Fatal(err)
	}
	return l
}

// A handler that cannot do it now gives the notification back.
func ExampleListenerOptions_requeue() {
	ctx := context.Background()
	transport, notifier := open(ctx)
	defer transport.Close(ctx)

	ep := &notify.Endpoint{}
	done := make(chan bool)
	notify.HandleRaw(ep, notify.Error, func(_ context.Context, n *notify.Notification) error {
		fmt.Println(n.EventType, "redelivered:", n.Redelivered)
		if !n.Redelivered {
			return notify.Requeue(errors.New("the pager is busy"))
		}
		close(done)
		return nil
	})
	l := listen(ctx, transport, &notify.ListenerOptions{AllowRequeue: true, RequeueDelay: time.Millisecond, MaxAttempts: 10}, ep)
	defer l.Wait(ctx)

	if err := notifier.Error(ctx, "volume.broken", nil); err != nil {
		log.Fatal(err)
	}
	<-done
	// Output:
	// volume.broken redelivered: false
	// volume.broken redelivered: true
}

// Batches save round trips to a database.
func ExampleHandleBatch() {
	ctx := context.Background()
	transport, notifier := open(ctx)
	defer transport.Close(ctx)

	ep := &notify.Endpoint{}
	done := make(chan bool)
	notify.HandleBatch(ep, notify.Sample, func(_ context.Context, ns []*notify.Notification) error {
		fmt.Println("storing", len(ns))
		close(done)
		return nil
	})
	l := listen(ctx, transport, &notify.ListenerOptions{BatchSize: 100, BatchTimeout: 50 * time.Millisecond}, ep)
	defer l.Wait(ctx)

	for range 100 {
		if err := notifier.Sample(ctx, "volume.size", Volume{ID: "v-42", Size: 10}); err != nil {
			log.Fatal(err)
		}
	}
	<-done
	// Output: storing 100
}

// Two services that both want everything have a pool each.
func ExampleListenerOptions_pool() {
	ctx := context.Background()
	transport, notifier := open(ctx)
	defer transport.Close(ctx)

	handled := make(chan string)
	for _, pool := range []string{"billing", "search"} {
		ep := &notify.Endpoint{}
		notify.Handle(ep, notify.Info, func(_ context.Context, _ *notify.Notification, v Volume) error {
			handled <- v.ID
			return nil
		})
		defer listen(ctx, transport, &notify.ListenerOptions{Pool: pool}, ep).Wait(ctx)
	}
	if err := notifier.Info(ctx, "volume.create.end", Volume{ID: "v-42"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-handled, <-handled)
	// Output: v-42 v-42
}

// A log that is published: whoever listens to errors sees it.
func ExampleNewLogHandler() {
	ctx := context.Background()
	transport, notifier := open(ctx)
	defer transport.Close(ctx)

	ep := &notify.Endpoint{}
	handled := make(chan bool)
	notify.Handle(ep, notify.Error, func(_ context.Context, n *notify.Notification, record struct {
		Msg   string
		Extra map[string]any
	},
	) error {
		fmt.Println(n.EventType, record.Msg, record.Extra)
		handled <- true
		return nil
	})
	l := listen(ctx, transport, nil, ep)
	defer l.Wait(ctx)

	queue := notify.NewQueue(notifier, nil)
	defer queue.Close(ctx)
	logger := slog.New(notify.NewLogHandler(queue, &notify.LogHandlerOptions{Level: slog.LevelError}))
	logger.Info("this one stays here")
	logger.Error("volume is gone", "id", "v-42")
	<-handled
	// Output: logrecord volume is gone map[id:v-42]
}

// The request context, as far as it holds no secret, travels too.
func ExampleNotification_Value() {
	ctx := context.Background()
	transport, notifier := open(ctx)
	defer transport.Close(ctx)

	ep := &notify.Endpoint{}
	handled := make(chan bool)
	notify.HandleRaw(ep, notify.Info, func(_ context.Context, n *notify.Notification) error {
		var user string
		_, err := n.Value("user_id", &user)
		fmt.Println("by", user)
		handled <- true
		return err
	})
	l := listen(ctx, transport, nil, ep)
	defer l.Wait(ctx)

	if err := notifier.Info(rpc.NewContext(ctx, "user_id", "ann"), "volume.delete.end", nil); err != nil {
		log.Fatal(err)
	}
	<-handled
	// Output: by ann
}
