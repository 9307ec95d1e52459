package rabbit_test

import (
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// The benchmarks compare the driver with the client library used plainly, in
// one run, because rates on a shared machine only mean something as a ratio.
// Besides the time they report this process's CPU, client and server together.

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// measure runs f from that many goroutines and reports rate and CPU.
func measure(b *testing.B, inFlight int, f func(b *testing.B) error) {
	b.Helper()
	b.ReportAllocs()
	next := make(chan struct{}, 1024)
	var wg sync.WaitGroup
	b.ResetTimer()
	begin := cpu()
	for range inFlight {
		wg.Go(func() {
			for range next {
				if err := f(b); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for range b.N {
		next <- struct{}{}
	}
	close(next)
	wg.Wait()
	b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

var body = []byte(strings.Repeat("x", 100))

func BenchmarkCall(b *testing.B) {
	for _, inFlight := range []int{1, 64} {
		b.Run("library/"+strconv.Itoa(inFlight), func(b *testing.B) {
			call := libraryCalls(b, newBroker(b))
			measure(b, inFlight, call)
		})
		b.Run("driver/"+strconv.Itoa(inFlight), func(b *testing.B) {
			call := driverCalls(b, newBroker(b))
			measure(b, inFlight, call)
		})
	}
}

// calls matches replies to calls, as the core does.
type calls struct {
	mu   sync.Mutex
	last uint64
	wait map[string]chan struct{}
}

func (c *calls) begin() (string, chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	id, done := strconv.FormatUint(c.last, 36), make(chan struct{}, 1)
	c.wait[id] = done
	return id, done
}

func (c *calls) end(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done := c.wait[id]; done != nil {
		done <- struct{}{}
		delete(c.wait, id)
	}
}

// libraryCalls returns a call over direct reply-to, with manual acknowledgements.
func libraryCalls(b *testing.B, br *broker) func(*testing.B) error {
	queue := topic().Topic
	server, client := rawChannel(b, br), rawChannel(b, br)
	if _, err := server.QueueDeclare(queue, false, true, false, false, nil); err != nil {
		b.Fatal(err)
	}
	if err := server.Qos(256, 0, false); err != nil {
		b.Fatal(err)
	}
	requests, err := server.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for d := range requests {
			_ = d.Ack(false)
			_ = server.PublishWithContext(b.Context(), "", d.ReplyTo, false, false, amqp.Publishing{CorrelationId: d.CorrelationId, Body: d.Body})
		}
	}()
	replies, err := client.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	c := &calls{wait: map[string]chan struct{}{}}
	go func() {
		for d := range replies {
			c.end(d.CorrelationId)
		}
	}()
	return func(b *testing.B) error {
		id, done := c.begin()
		err := client.PublishWithContext(b.Context(), "", queue, false, false,
			amqp.Publishing{CorrelationId: id, ReplyTo: "amq.rabbitmq.reply-to", Body: body})
		if err == nil {
			<-done
		}
		return err
	}
}

// driverCalls returns a call as the core makes it: the request with an outcome
// that nobody waits for, the reply mandatory, both acknowledged.
func driverCalls(b *testing.B, br *broker) func(*testing.B) error {
	a := topic()
	reply := messaging.Address{Kind: messaging.KindReply, Direct: "reply_" + a.Topic}
	sub := sources(a)
	sub.Prefetch = 256
	l := listen(b, dial(b, br, ""), sub)
	serverOut, clientOut := dial(b, br, ""), dial(b, br, "")
	go func() {
		for {
			d, err := l.Poll(b.Context())
			if err != nil {
				return
			}
			_ = d.Settle(b.Context(), messaging.Ack)
			m := &messaging.Message{CorrelationID: d.CorrelationID, Body: d.Body, Mandatory: true}
			_ = serverOut.Send(b.Context(), messaging.Address{Kind: messaging.KindReply, Direct: d.ReplyTo}, m, ignore{})
		}
	}()
	replies := listen(b, dial(b, br, ""), messaging.Subscription{Reply: reply.Direct, Prefetch: 256})
	c := &calls{wait: map[string]chan struct{}{}}
	go func() {
		for {
			d, err := replies.Poll(b.Context())
			if err != nil {
				return
			}
			_ = d.Settle(b.Context(), messaging.Ack)
			c.end(d.CorrelationID)
		}
	}()
	return func(b *testing.B) error {
		id, done := c.begin()
		err := clientOut.Send(b.Context(), a, &messaging.Message{CorrelationID: id, ReplyTo: reply.Direct, Body: body, TTL: time.Minute, Unawaited: true}, ignore{})
		if err == nil {
			<-done
		}
		return err
	}
}

type ignore struct{}

func (ignore) Complete(error) {}

// BenchmarkConfirmed has publishers that each wait for their own confirmation. With
// the library they have a channel each, as it wants it of goroutines; or, which
// costs less, all share one.
func BenchmarkConfirmed(b *testing.B) {
	for _, inFlight := range []int{1, 64} {
		for _, with := range []struct {
			name     string
			channels int
		}{{"library/", inFlight}, {"library-shared/", 1}} {
			b.Run(with.name+strconv.Itoa(inFlight), func(b *testing.B) {
				br := newBroker(b)
				open, to := rawChannels(b, br, with.channels), sink(b, br)
				free := make(chan *amqp.Channel, inFlight)
				for i := range inFlight {
					ch := open[i%with.channels]
					if err := ch.Confirm(false); err != nil {
						b.Fatal(err)
					}
					free <- ch
				}
				measure(b, inFlight, func(b *testing.B) error {
					ch := <-free
					defer func() { free <- ch }()
					dc, err := ch.PublishWithDeferredConfirmWithContext(b.Context(), to.Exchange, to.Topic, false, false, amqp.Publishing{Body: body})
					if err == nil {
						dc.Wait()
					}
					return err
				})
			})
		}
		b.Run("driver/"+strconv.Itoa(inFlight), func(b *testing.B) {
			br := newBroker(b)
			out, to := dial(b, br, ""), sink(b, br)
			pool := sync.Pool{New: func() any { return make(result, 1) }}
			measure(b, inFlight, func(b *testing.B) error {
				r := pool.Get().(result)
				defer pool.Put(r)
				err := out.Send(b.Context(), to, &messaging.Message{Body: body}, r)
				if err != nil {
					return err
				}
				return <-r
			})
		})
	}
}

// BenchmarkPipelined has one publisher that does not wait, within a window of 256.
func BenchmarkPipelined(b *testing.B) {
	b.Run("library", func(b *testing.B) {
		br := newBroker(b)
		ch, to := rawChannel(b, br), sink(b, br)
		if err := ch.Confirm(false); err != nil {
			b.Fatal(err)
		}
		window := make(chan *amqp.DeferredConfirmation, 256)
		var wg sync.WaitGroup
		wg.Go(func() {
			for dc := range window {
				dc.Wait()
			}
		})
		measure(b, 1, func(b *testing.B) error {
			dc, err := ch.PublishWithDeferredConfirmWithContext(b.Context(), to.Exchange, to.Topic, false, false, amqp.Publishing{Body: body})
			window <- dc
			return err
		})
		close(window)
		wg.Wait()
	})
	b.Run("driver", func(b *testing.B) {
		br := newBroker(b)
		out, to := dial(b, br, ""), sink(b, br)
		measure(b, 1, func(b *testing.B) error {
			return out.Send(b.Context(), to, &messaging.Message{Body: body}, ignore{})
		})
	})
}

// sink returns the address of a queue that keeps little of what it gets.
func sink(b *testing.B, br *broker) messaging.Address {
	b.Helper()
	to := topic()
	br.raw(b, func(ch *amqp.Channel) {
		_, err := ch.QueueDeclare(to.Topic, false, false, false, false, amqp.Table{"x-max-length": 100})
		if err == nil {
			err = ch.ExchangeDeclare(to.Exchange, amqp.ExchangeTopic, false, false, false, false, nil)
		}
		if err == nil {
			err = ch.QueueBind(to.Topic, to.Topic, to.Exchange, false, nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	})
	return to
}

func rawChannel(b *testing.B, br *broker) *amqp.Channel {
	b.Helper()
	return rawChannels(b, br, 1)[0]
}

// rawChannels returns n channels of one connection of the library's.
func rawChannels(b *testing.B, br *broker, n int) (channels []*amqp.Channel) {
	b.Helper()
	c, err := amqp.Dial(strings.Replace(br.url, "rabbit:", "amqp:", 1))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	for range n {
		ch, err := c.Channel()
		if err != nil {
			b.Fatal(err)
		}
		channels = append(channels, ch)
	}
	return channels
}
