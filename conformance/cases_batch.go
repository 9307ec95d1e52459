package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// gather adds to an endpoint a handler of batches, which writes them down and then
// calls handle with their keys. It returns where it tells the sizes.
func (t *trial) gather(ep *notify.Endpoint, who string, handle func(keys []string) error) <-chan int {
	sizes := make(chan int, 64)
	notify.HandleBatch(ep, notify.Info, func(_ context.Context, ns []*notify.Notification) error {
		var ks []string
		for _, n := range ns {
			var body payload
			if err := n.Decode(&body); err != nil {
				return err
			}
			t.notified(who, n, body.Key)
			ks = append(ks, body.Key)
		}
		sizes <- len(ns)
		return handle(ks)
	})
	return sizes
}

func notifyBatch(t *trial) {
	const size, rest = 5, 3
	topic := t.name("notifications")
	ep := &notify.Endpoint{}
	timeout := t.scaled(moment)
	handled := make(chan time.Time, 64)
	sizes := t.gather(ep, "s", func([]string) error { handled <- time.Now(); return nil })
	t.subscribeTo(topic, "s", notify.ListenerOptions{BatchSize: size, BatchTimeout: 100 * timeout, Executor: rpc.Blocking()}, ep)
	n := t.publisherOf(topic)
	ks := keys("n", 3*size)
	t.publish(n, notify.Info, ks...)
	t.waitKeys(ks...)
	for range 3 {
		if got := <-sizes; got != size {
			t.errorf("a batch of %d, want %d", got, size)
		}
	}
	// And what does not fill one comes when the time is over.
	slow := t.name("notifications")
	late := &notify.Endpoint{}
	lateSizes := t.gather(late, "late", func([]string) error { handled <- time.Now(); return nil })
	for range 3 {
		<-handled
	}
	t.subscribeTo(slow, "late", notify.ListenerOptions{BatchSize: 100, BatchTimeout: timeout, Executor: rpc.Blocking()}, late)
	start := time.Now()
	few := keys("few", rest)
	t.publish(t.publisherOf(slow), notify.Info, few...)
	t.waitKeys(few...)
	if took := (<-handled).Sub(start); took < timeout-timeout/20 || took > timeout+t.scaled(slack) {
		t.errorf("a batch that is not full was handled after %v, want %v after its first notification", took, timeout)
	}
	t.prove("the late batch had %d of %d", <-lateSizes, rest)
	t.onlyOnce(append(ks, few...))
}

func notifyFailedBatch(t *trial) {
	const size = 4
	topic := t.name("notifications")
	ep := &notify.Endpoint{}
	calls := 0
	sizes := t.gather(ep, "s", func([]string) error {
		if calls++; calls == 2 {
			return errors.New("database is down")
		}
		return nil
	})
	o := notify.ListenerOptions{BatchSize: size, BatchTimeout: t.scaled(moment), AllowRequeue: true, RequeueDelay: time.Millisecond, Executor: rpc.Blocking()}
	s := t.subscribeTo(topic, "s", o, ep)
	n := t.publisherOf(topic)
	ks := keys("n", 3*size)
	for i := range 3 { // batch by batch, or what comes again mixes with what is new
		t.publish(n, notify.Info, ks[i*size:(i+1)*size]...)
		if got := <-sizes; got != size {
			t.errorf("batch %d has %d, want %d", i, got, size)
		}
		if i == 1 {
			t.wait("the second batch to come again", func(l *ledger) bool { return len(l.got) >= 3*size })
			for got := 0; got < size; {
				got += <-sizes
			}
		}
	}
	s.leave()
	t.copies(ks[:size], 1)
	t.copies(ks[size:2*size], 2)
	t.copies(ks[2*size:], 1)
}
