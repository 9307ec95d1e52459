package rabbit

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// publisher publishes over one channel with confirmations. When the broker
// closes the channel, the next publish opens another. There are two of them in
// a connection: one for fanouts, whose exchanges come and go.
type publisher struct {
	c    *conn
	turn chan struct{} // whose it is opens the channel

	mu   sync.Mutex // protects lane
	lane *lane      // nil: none was opened yet
}

func newPublisher(c *conn) *publisher { return &publisher{c: c, turn: make(chan struct{}, 1)} }

// lane is one channel of a publisher, for as long as the broker leaves it open.
type lane struct {
	c         *conn
	ch        *amqp.Channel
	returns   chan amqp.Return                // unbuffered, so that each is seen before the confirmation that follows it
	published chan *amqp.DeferredConfirmation // in the order of the publishes; has room for the window
	closed    chan *amqp.Error
	confirms  confirms

	mu     sync.Mutex // held while publishing, which is the order of the numbers
	number uint64     // of the last publish
	id     []byte     // what the message-ids that it makes up begin with
}

// errLaneClosed: the channel was closed before anything was written.
var errLaneClosed = errors.New("the broker closed the channel")

// publish hands a message to the broker. The gate has let it in.
func (p *publisher) publish(ctx context.Context, r route, m amqp.Publishing, mandatory bool, s sent) error {
	for {
		l, err := p.open(ctx)
		if err != nil {
			return err
		}
		if err = l.publish(r, m, mandatory, s); !errors.Is(err, errLaneClosed) {
			return err
		}
		if err := p.c.lost(); err != nil {
			return err
		}
	}
}

// open returns the lane, after opening one if there is none.
func (p *publisher) open(ctx context.Context) (*lane, error) {
	if l := p.current(); l != nil {
		return l, nil
	}
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-p.c.done:
		return nil, p.c.lost()
	}
	if l := p.current(); l != nil {
		<-p.turn
		return l, nil
	}
	err := p.c.await(ctx, func() error {
		defer func() { <-p.turn }()
		l, err := p.c.openLane()
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lane = l
		return nil
	})
	if err != nil {
		return nil, err
	}
	if l := p.current(); l != nil {
		return l, nil
	}
	return nil, errLaneClosed
}

func (p *publisher) current() *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lane == nil || p.lane.ch.IsClosed() {
		return nil
	}
	return p.lane
}

// openLane opens a channel for publishing and starts the goroutine that reads
// what the broker says about it.
func (c *conn) openLane() (*lane, error) {
	ch, err := c.amqp.Channel()
	if err != nil {
		return nil, err
	}
	l := &lane{
		c: c, ch: ch, confirms: confirms{first: 1}, id: []byte(rand.Text() + "-"),
		published: make(chan *amqp.DeferredConfirmation, c.window),
	}
	l.returns = ch.NotifyReturn(make(chan amqp.Return))
	l.closed = ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.Confirm(false); err != nil {
		_ = ch.Close()
		return nil, err
	}
	if !c.spawn(l.read) {
		return nil, c.lost()
	}
	return l, nil
}

// publish writes m. It does not wait for the network: what is written goes into
// the coalescing connection, which has room for all that the gate lets in.
func (l *lane) publish(r route, m amqp.Publishing, mandatory bool, s sent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ch.IsClosed() {
		return errLaneClosed
	}
	if x := r.exchange; x.autoDelete {
		// It may be gone since it was declared, and a publish to an exchange
		// that is not there closes the channel.
		if err := l.ch.ExchangeDeclare(x.name, x.kind, x.durable, x.autoDelete, false, true, nil); err != nil {
			return errLaneClosed
		}
	}
	if mandatory {
		if m.MessageId == "" {
			m.MessageId = string(strconv.AppendUint(l.id, l.number+1, 36))
		}
		s.id = m.MessageId
	}
	if !l.confirms.add(s) {
		return errLaneClosed
	}
	// The number is the library's own count, which it takes back on an error.
	confirmation, err := l.ch.PublishWithDeferredConfirm(r.exchange.name, r.key, mandatory, false, m)
	if err != nil {
		if l.confirms.remove() {
			return errLaneClosed // an incomplete message is none
		}
		return nil // told already, that it is unknown
	}
	l.number++
	l.published <- confirmation
	return nil
}

// read is the goroutine that tells the outcomes. It ends with the channel, when
// the library closes returns and decides all confirmations.
//
// It asks each confirmation in turn: the library's NotifyPublish would set a
// timer for every one of them.
func (l *lane) read() {
	defer l.end()
	var batch []sent
	for open := true; open; {
		select {
		case p := <-l.published:
			batch = l.await(p, batch)
		case r, ok := <-l.returns:
			if ok {
				l.giveBack(r)
			}
			open = ok
		}
	}
	for len(l.published) > 0 {
		batch = l.await(<-l.published, batch)
	}
}

// await waits for a confirmation, and tells it. batch is for use again.
func (l *lane) await(p *amqp.DeferredConfirmation, batch []sent) []sent {
	for returns := l.returns; ; {
		select {
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			l.giveBack(r)
		case <-p.Done():
			if !p.Acked() && l.ch.IsClosed() {
				return batch // nobody refused it: see end
			}
			batch = l.confirms.confirmed(p.DeliveryTag, batch[:0])
			l.tell(batch, p.Acked())
			return batch
		}
	}
}

// giveBack tells that a message had no route.
func (l *lane) giveBack(r amqp.Return) {
	if s, ok := l.confirms.returned(r.MessageId); ok && s.c != nil {
		s.c.Complete(&messaging.OpError{Op: "publishing to", Addr: s.to.String(), Err: messaging.ErrNoRoute})
	}
}

// tell tells the outcome of a confirmation, which is the last one's.
func (l *lane) tell(batch []sent, ack bool) {
	bytes := 0
	for i := range batch {
		s := &batch[i]
		bytes += s.bytes
		switch {
		case s.c == nil:
		case i < len(batch)-1:
			s.c.Complete(unknown(s.to, errConfirmMissing))
		case ack:
			s.c.Complete(nil)
		default:
			s.c.Complete(&messaging.OpError{Op: "publishing to", Addr: s.to.String(), Err: messaging.ErrRejected})
		}
		*s = sent{}
	}
	l.c.gate.leave(len(batch), bytes)
}

var errConfirmMissing = errors.New("the broker's confirmation did not come")

// end tells all that wait that their outcome is unknown: the library would
// call it a refusal, but nobody refused anything.
func (l *lane) end() {
	reason := l.c.lost()
	if e, ok := <-l.closed; ok {
		reason = explain(e)
		if e.Code == amqp.NotFound {
			l.c.control.forget() // an exchange was deleted: declare it again
		}
	}
	rest := l.confirms.end()
	bytes := 0
	for i := range rest {
		bytes += rest[i].bytes
		if s := &rest[i]; s.c != nil {
			s.c.Complete(unknown(s.to, reason))
		}
	}
	l.c.gate.leave(len(rest), bytes)
}

func unknown(to messaging.Address, reason error) error {
	return &messaging.OpError{Op: "publishing to", Addr: to.String(), Err: joined(messaging.ErrOutcomeUnknown, reason)}
}
