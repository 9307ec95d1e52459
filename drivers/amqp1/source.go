package amqp1

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// source receives from one node of a listener. When the broker detaches the link
// or ends its session, the source attaches another.
type source struct {
	l       *listener
	plan    plan
	reply   bool
	address string // where the node can be sent to; of a reply node only

	mu    sync.Mutex // protects inlet
	inlet *inlet
	over  chan struct{} // closed when the receiving goroutine has ended; nil: it was not started
}

// inlet is one link of a source, for as long as the broker leaves it attached,
// with a session of its own: a broker may end that over a link that it refuses.
type inlet struct {
	c       *conn
	session *amqp.Session
	link    *amqp.Receiver
	credit  credit
	broken  chan struct{} // closed when the link has ended
	acks    chan ack      // has room for all that credit was given for, and a last one
}

// ack is a message that was accepted, or nothing but a question whether all before
// it are written.
type ack struct {
	m       *amqp.Message
	written chan struct{}
}

// start returns when messages reach the node and are received.
func (s *source) start() error {
	in, err := s.attach()
	if err != nil {
		return err
	}
	s.over = make(chan struct{})
	if !s.l.c.spawn(func() { s.run(in) }) {
		s.over = nil
		return s.l.c.lost()
	}
	return nil
}

// run is the goroutine that receives, until the listener is closed or fails.
func (s *source) run(in *inlet) {
	defer close(s.over)
	back := 10 * time.Millisecond
	for {
		began := time.Now()
		err := s.receive(in)
		close(in.broken)
		if undecodable(err) {
			s.l.c.raw.wary.Store(true) // else it comes again, and ends the next link too
		}
		if s.l.stopping() || s.l.c.lost() != nil || s.plan.dynamic {
			s.fail(err)
			return
		}
		s.l.c.retire(in.session.Close)
		// A link that ends as soon as it is attached must not be attached in a
		// tight loop.
		if time.Since(began) > time.Second {
			back = 10 * time.Millisecond
		}
		select {
		case <-time.After(back):
		case <-s.l.ended:
			return
		case <-s.l.c.done:
			s.fail(err)
			return
		}
		back = min(2*back, 5*time.Second)
		if in, err = s.attach(); err != nil {
			s.fail(err)
			return
		}
	}
}

// fail ends the listener because its node cannot be received from any more.
func (s *source) fail(err error) {
	if lost := s.l.c.Err(); lost != nil {
		s.l.end(lost)
		return
	}
	s.l.end(joined(messaging.ErrConnLost, s.l.c.told(err)))
}

// receive passes messages on until the link has ended, and says why.
func (s *source) receive(in *inlet) error {
	for {
		m, err := in.link.Receive(s.l.c.life, nil)
		if err != nil {
			return err
		}
		in.credit.received()
		if s.l.stopping() {
			_ = in.settle(m, released) // it was on its way
			continue
		}
		p := in.delivery(m, s.plan.index, s.l.c)
		s.l.inbox <- p
	}
}

// attach declares the node, where that is needed, and attaches a link to it.
func (s *source) attach() (*inlet, error) {
	c := s.l.c
	if s.plan.queue != nil {
		if err := c.management.declare(s.plan.queue); err != nil {
			return nil, err
		}
	}
	session, err := c.amqp.NewSession(c.life, nil)
	if err != nil {
		return nil, err
	}
	o := &amqp.ReceiverOptions{
		Credit:             -1, // by hand: else it cannot be drained
		DynamicAddress:     s.plan.dynamic,
		SourceCapabilities: s.plan.source.capabilities,
	}
	if s.reply && c.p.settledReplies {
		o.RequestedSenderSettleMode = amqp.SenderSettleModeSettled.Ptr()
	}
	link, err := session.NewReceiver(c.life, s.plan.source.address, o)
	if err != nil {
		c.retire(session.Close)
		return nil, err
	}
	in := &inlet{
		c: c, session: session, link: link, broken: make(chan struct{}),
		acks: make(chan ack, s.l.prefetch+1),
	}
	in.credit = credit{issue: link.IssueCredit, prefetch: s.l.prefetch}
	if !c.spawn(in.acknowledge) {
		return nil, c.lost()
	}
	s.mu.Lock()
	s.inlet = in
	s.mu.Unlock()
	if s.address == "" { // the first time; a dynamic one is attached once
		s.address = s.plan.source.address
		if s.plan.dynamic {
			s.address = link.Address()
		}
	}
	if s.l.stopping() {
		return in, nil
	}
	in.credit.start()
	return in, nil
}

func (s *source) current() *inlet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inlet
}

// patience bounds the waiting for a peer that should answer.
const patience = 5 * time.Second

// drain returns when no message comes any more, as far as the broker tells. Where
// it does not, what is on its way is given back when it comes.
func (s *source) drain() {
	in := s.current()
	if in == nil || !in.credit.stop() {
		return
	}
	wait := patience
	if !s.l.c.p.drains {
		wait = time.Millisecond // the credit is gone all the same
	}
	ctx, cancel := context.WithTimeout(s.l.c.life, wait)
	defer cancel()
	_ = in.link.DrainCredit(ctx, nil)
}

// free detaches the link and deletes what is private.
func (s *source) free() error {
	c := s.l.c
	in := s.current()
	if in == nil || c.lost() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.life, patience)
	defer cancel()
	in.flush()
	_ = in.link.Close(ctx)
	_ = in.session.Close(ctx)
	if s.over != nil {
		select {
		case <-s.over:
		case <-c.done:
		}
	}
	if q := s.plan.queue; q != nil && q.private {
		return c.management.remove(q.name)
	}
	return nil
}

// delivery makes a delivery of what was received.
func (in *inlet) delivery(m *amqp.Message, index func(to string) int, c *conn) polled {
	d := new(struct {
		messaging.Delivery
		settler
	})
	d.settler = settler{in: in, m: m}
	d.Init(received(m, c.o.valueType), &d.settler)
	to := ""
	if m.Properties != nil {
		to = text(m.Properties.To)
	}
	d.Source = index(to)
	d.Redelivered = c.p.wasDelivered(m.Header)
	if c.caps.DeliveryCount {
		d.Count = 0
		if m.Header != nil {
			d.Count = int(m.Header.DeliveryCount)
		}
	}
	return polled{&d.Delivery, &d.settler}
}

// settler settles one delivery.
type settler struct {
	in *inlet
	m  *amqp.Message
}

// Settle implements messaging.Settler.
func (s *settler) Settle(_ context.Context, _ *messaging.Delivery, o messaging.Outcome) error {
	how := accepted
	switch o {
	case messaging.Ack:
	case messaging.Requeue:
		how = s.in.c.p.requeue
	case messaging.Drop:
		how = s.in.c.p.drop
	}
	if s.lost() {
		return &messaging.OpError{Op: "settling a delivery", Err: messaging.ErrConnLost}
	}
	if how == accepted {
		s.in.acks <- ack{m: s.m}
		return nil
	}
	if err := s.in.settle(s.m, how); err != nil {
		return &messaging.OpError{Op: "settling a delivery", Err: joined(messaging.ErrConnLost, s.in.c.told(err))}
	}
	return nil
}

// acknowledge is the goroutine that writes what was accepted, so that nobody waits
// for the library's way to the socket.
func (in *inlet) acknowledge() {
	for {
		select {
		case a := <-in.acks:
			if a.written != nil {
				close(a.written)
				continue
			}
			_ = in.settle(a.m, accepted) // else it is lost, and the broker delivers it again
		case <-in.broken:
			return
		case <-in.c.done:
			return
		}
	}
}

// flush returns when all that was accepted is written.
func (in *inlet) flush() {
	a := ack{written: make(chan struct{})}
	select {
	case in.acks <- a:
	case <-in.broken:
		return
	case <-in.c.done:
		return
	}
	select {
	case <-a.written:
	case <-in.broken:
	case <-in.c.done:
	}
}

// giveBack returns a message to the broker as though it had never been
// delivered, and reports whether it did.
func (s *settler) giveBack() bool { return !s.lost() && s.in.settle(s.m, released) == nil }

// lost reports whether the delivery is the broker's again.
func (s *settler) lost() bool {
	select {
	case <-s.in.broken:
		return true
	case <-s.in.c.done: // the library notices a little later
		return true
	default:
		return false
	}
}

// settle writes an outcome.
func (in *inlet) settle(m *amqp.Message, how settlement) error {
	var err error
	switch how {
	case accepted:
		err = in.link.AcceptMessage(in.c.life, m)
	case rejected:
		err = in.link.RejectMessage(in.c.life, m, nil)
	case released:
		err = in.link.ReleaseMessage(in.c.life, m)
	case failed:
		err = in.link.ModifyMessage(in.c.life, m, &amqp.ModifyMessageOptions{DeliveryFailed: true})
	default:
		err = errors.New("no such settlement")
	}
	if err == nil {
		in.credit.settled()
	}
	return err
}
