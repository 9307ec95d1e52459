package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

func listenCases() []Case {
	return group("listen",
		must("ready_means_routable", "When Listen returns the server is there; a sleep after it would be a race everywhere.", readyRoutable),
		must("poll_timeout_bounds", "A poll that gives up costs its deadline, not more, and no message.", pollTimeout),
		must("poll_cancel_inflight", "Polls are cancelled all the time, just when a message arrives; none may be lost by it.", pollCancel),
		must("ack_once", "What was acknowledged is over; coming again it would be done again.", ackOnce),
		must("double_ack_harmless", "Two parts of a program may both settle; the second must do nothing, to no message.", doubleAck),
		must("ack_after_connection_loss_typed", "A handler that ends after its connection must learn that its acknowledgement was lost.", ackAfterLoss),
		must("stop_then_no_more_deliveries", "A server that is going away takes no new work, and leaves it to others.", stopDelivers),
	)
}

func readyRoutable(t *trial) {
	topic := t.name("topic")
	for i := range 10 {
		who := fmt.Sprintf("s%d", i)
		r := t.server(topic, who)
		tr := t.open() // dialled after Listen returned
		o := &messaging.SendOptions{Mandatory: t.caps.Mandatory}
		for key, to := range map[string]messaging.Address{"any/" + who: anyOf(topic), "named/" + who: named(topic, who)} {
			t.check(t.attempt(tr, to, key, o), "sending %s as soon as the server is ready", key)
		}
		t.send(tr, fanoutOf(topic), "fanout/"+who)
		t.waitKeys("any/"+who, "named/"+who, "fanout/"+who)
		t.got(who, []string{"any/" + who, "named/" + who, "fanout/" + who})
		r.leave()
	}
}

func pollTimeout(t *trial) {
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	t.check(sender.Connect(t.patient()), "connecting")
	for range 3 {
		start := time.Now()
		_, err := s.Poll(t.within(moment / 2))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.errorf("polling where nothing comes: %v, want context.DeadlineExceeded", err)
		}
		t.bounds("a poll", start, t.scaled(moment/2))
	}
	over, cancel := context.WithCancel(t.ctx)
	cancel()
	if _, err := s.Poll(over); !errors.Is(err, context.Canceled) {
		t.errorf("polling with a cancelled context: %v, want context.Canceled", err)
	}
	t.send(sender, anyOf(topic), "after")
	in := t.poll(s, "s")
	t.settle(in, messaging.Ack)
	t.got("s", []string{"after"})
}

func pollCancel(t *trial) {
	topic := t.name("topic")
	r := t.open()
	s := t.listen(r, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	ks := keys("m", max(50, t.volume(300)))
	var polled, cancelled atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		seed := t.rng.Int64()
		wg.Add(1)
		t.spawn(func() {
			defer wg.Done()
			for i := seed; polled.Load() < int64(len(ks)) && t.ctx.Err() == nil; i = i*6364136223846793005 + 1442695040888963407 {
				ctx, cancel := context.WithCancel(t.ctx)
				stop := time.AfterFunc(time.Duration(uint64(i)>>54)*time.Microsecond, cancel) // up to 1 ms
				in, err := s.Poll(ctx)
				stop.Stop()
				cancel()
				if err != nil {
					cancelled.Add(1)
					continue
				}
				polled.Add(1)
				t.arrived("s", in)
				t.settle(in, messaging.Ack)
			}
		})
	}
	for _, key := range ks {
		// Spread over time, so that there is something to cancel.
		t.pass(time.Duration(t.rng.IntN(1000)) * time.Microsecond)
		t.send(sender, anyOf(topic), key)
	}
	t.waitKeys(ks...)
	wg.Wait()
	t.prove("%d messages came, %d polls were cancelled meanwhile", len(ks), cancelled.Load())
	t.send(sender, anyOf(topic), "fence/s")
	t.poll(s, "s")
	t.got("s", ks)
	t.noDuplicates(r)
}

func ackOnce(t *trial) {
	topic := t.name("topic")
	first := t.server(topic, "s")
	sender := t.open()
	ks := keys("m", 10)
	t.send(sender, anyOf(topic), ks...)
	t.send(sender, named(topic, "s"), "by name")
	t.waitKeys(append(ks, "by name")...)
	first.leave()
	t.check(first.tr.Close(t.patient()), "closing the first server")
	// The next server of the same name gets what was not acknowledged.
	t.receive(t.open(), "next", serverOf(messaging.Target{Topic: topic, Server: "s"}), nil)
	late := t.open()
	t.send(late, anyOf(topic), "fence/any")
	t.send(late, named(topic, "s"), "fence/named")
	t.waitKeys("fence/any", "fence/named")
	t.got("next", nil)
	t.onlyOnce(ks)
}

func doubleAck(t *trial) {
	topic := t.name("topic")
	tr := t.open()
	s := t.listen(tr, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	t.send(sender, anyOf(topic), keys("m", 5)...)
	for range 5 {
		in := t.poll(s, "s")
		var won atomic.Int32
		t.each(4, func(int) {
			switch err := in.Settle(t.patient(), messaging.Ack); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, messaging.ErrSettled):
				t.errorf("settling twice: %v, want ErrSettled", err)
			}
		})
		if n := won.Load(); n != 1 {
			t.errorf("%d of 4 concurrent settlements of one message succeeded", n)
		}
		if err := in.Settle(t.patient(), messaging.Drop); !errors.Is(err, messaging.ErrSettled) {
			t.errorf("settling again in another way: %v, want ErrSettled", err)
		}
	}
	t.send(sender, anyOf(topic), "after")
	t.settle(t.poll(s, "s"), messaging.Ack)
	t.got("s", append(keys("m", 5), "after"))
	if n := tr.Stats().ConnsLost; n > 0 {
		t.errorf("settling twice cost %d connections", n)
	}
}

func ackAfterLoss(t *trial) {
	topic := t.name("topic")
	tr := t.open()
	s := t.listen(tr, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	t.send(t.open(), anyOf(topic), "m")
	in := t.poll(s, "s")
	t.check(tr.Close(t.patient()), "closing the transport with a message in hand")
	err := in.Settle(t.patient(), messaging.Ack)
	if !errors.Is(err, messaging.ErrConnLost) && !errors.Is(err, messaging.ErrClosed) {
		t.errorf("acknowledging after the connection is gone: %v, want ErrConnLost or ErrClosed", err)
	}
}

func stopDelivers(t *trial) {
	topic := t.name("topic")
	tr := t.open()
	s := t.listen(tr, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	t.send(sender, anyOf(topic), "in hand")
	in := t.poll(s, "s")
	other := t.server(topic, "other")
	t.reachable(sender, anyOf(topic), 2) // so that it need not learn of that one in time
	waiting := make(chan error, 1)
	t.spawn(func() {
		_, err := s.Poll(t.patient())
		waiting <- err
	})
	_, err := s.Stop(t.patient())
	t.check(err, "stopping")
	select {
	case err := <-waiting:
		if !errors.Is(err, messaging.ErrClosed) {
			t.errorf("a poll that waits while the stream stops: %v, want ErrClosed", err)
		}
	case <-t.patient().Done():
		t.fatalf("a poll goes on after Stop")
	}
	ks := keys("m", 10)
	t.send(sender, anyOf(topic), ks...)
	t.waitKeys(ks...)
	if _, err := s.Poll(t.patient()); !errors.Is(err, messaging.ErrClosed) {
		t.errorf("polling after Stop: %v, want ErrClosed", err)
	}
	// What is in hand can still be settled, and does not go to the other.
	t.settle(in, messaging.Ack)
	t.check(s.Close(t.patient()), "closing")
	t.fence(sender, topic, other)
	t.got("s", []string{"in hand"})
	t.got("other", ks)
}
