package rabbit

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// publisher publishes over one channel, and learns the outcomes there. When the
// broker closes the channel, the next publish opens another. There are three of
// them in a connection: one for fanouts, whose exchanges come and go, and one
// for calls and replies, whose outcomes are told in groups.
type publisher struct {
	c       *conn
	grouped bool
	turn    chan struct{} // whose it is opens the channel

	mu   sync.Mutex // protects lane
	lane *lane      // nil: none was opened yet
}

func newPublisher(c *conn, grouped bool) *publisher {
	return &publisher{c: c, grouped: grouped, turn: make(chan struct{}, 1)}
}

// lane is one channel of a publisher, for as long as the broker leaves it open.
type lane struct {
	c        *conn
	ch       *channel
	confirms confirms
	group    *group // nil: each publish is confirmed

	mu     sync.Mutex // held while publishing, which is the order of the numbers
	number uint64     // of the last publish
	id     []byte     // what the message-ids that it makes up begin with
	buf    []byte     // for frames

	batch []sent // of the goroutine that reads
}

// errLaneClosed: the channel was closed before anything was written.
var errLaneClosed = errors.New("the broker closed the channel")

// publish hands a message to the broker. The gate has let it in.
func (p *publisher) publish(ctx context.Context, r route, m *messaging.Message, mandatory bool, s sent) error {
	for {
		l, err := p.open(ctx)
		if err != nil {
			return err
		}
		if err = l.publish(r, m, mandatory, s); !errors.Is(err, errLaneClosed) {
			return err
		}
		if err := p.c.Lost(); err != nil {
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
	case <-p.c.Done():
		return nil, p.c.Lost()
	}
	if l := p.current(); l != nil {
		<-p.turn
		return l, nil
	}
	err := p.c.Await(ctx, func() error {
		defer func() { <-p.turn }()
		var l *lane
		err := p.c.Answer("opening a channel for publishing", func() (err error) {
			l, err = p.c.openLane(p.grouped)
			return err
		})
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
	if p.lane == nil || p.lane.ch.lost() {
		return nil
	}
	return p.lane
}

// openLane opens a channel for publishing and starts the goroutine that waits
// for its end.
func (c *conn) openLane(grouped bool) (*lane, error) {
	l := &lane{c: c, confirms: confirms{first: 1}, id: []byte(rand.Text() + "-")}
	to := &told{returns: l.returned, confirm: l.confirmed}
	if grouped {
		l.group = newGroup(l)
		to.flowed = l.group.answered
	}
	ch, err := c.openChannel(to)
	if err != nil {
		return nil, err
	}
	l.ch = ch
	closed := ch.lib.NotifyClose(make(chan *amqp.Error, 1))
	if !grouped {
		if err := ch.lib.Confirm(false); err != nil {
			_ = ch.lib.Close()
			return nil, err
		}
	}
	if !c.Spawn(func() { l.watch(closed) }) {
		return nil, c.Lost()
	}
	return l, nil
}

// watch is the goroutine that waits for the end of the channel.
func (l *lane) watch(closed <-chan *amqp.Error) {
	var late <-chan time.Time
	if l.group != nil {
		late = l.group.late.C
		defer l.group.late.Stop()
	}
	for {
		select {
		case e := <-closed:
			l.end(e)
			return
		case <-late:
			l.mu.Lock()
			l.group.ask()
			l.mu.Unlock()
		}
	}
}

// large is the size of a body that is written by itself, in pieces.
const large = 64 << 10

// publish writes m. It does not wait for the network: what is written goes into
// the coalescing connection, which has room for all that the gate lets in.
func (l *lane) publish(r route, m *messaging.Message, mandatory bool, s sent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := m.ID
	if mandatory {
		if id == "" {
			id = string(strconv.AppendUint(l.id, l.number+1, 36))
		}
		s.id = id
	}
	if !l.confirms.add(s) {
		return errLaneClosed
	}
	if l.write(r, m, mandatory, id) != nil {
		if l.confirms.remove() {
			return errLaneClosed
		}
		return nil // told already
	}
	l.number++
	if l.group != nil {
		l.group.published(m.Unawaited)
	}
	return nil
}

// write writes a message, with that id in place of its own. An error means that
// nothing of it was. What breaks off later is no message, and its end tells. l.mu
// is held.
func (l *lane) write(r route, m *messaging.Message, mandatory bool, id string) error {
	l.buf = l.buf[:0]
	if r.exchange.autoDelete {
		// It may be gone since it was declared, and a publish to an exchange
		// that is not there closes the channel.
		l.buf = appendDeclare(l.buf, l.ch.number, r.exchange)
	}
	l.buf = appendPublish(l.buf, l.ch.number, r, mandatory, m, id)
	body := m.Body
	piece := l.c.amqp.Config.FrameSize - frameHead - 1
	if n := len(body); n > 0 && n <= min(large, piece) {
		l.buf, body = appendBody(l.buf, l.ch.number, body), nil
	}
	if err := l.ch.f.send(l.ch, l.buf); err != nil {
		return err
	}
	for open := true; open && len(body) > 0; {
		n := min(len(body), piece)
		l.buf = appendBody(l.buf[:0], l.ch.number, body[:n])
		open = l.ch.f.send(l.ch, l.buf) == nil
		body = body[n:]
	}
	return nil
}

// returned is told that a message had no route.
func (l *lane) returned(a *arrival) {
	from := func(to messaging.Address) bool {
		r := l.c.o.route(to)
		return r.exchange.name == string(a.exchange) && r.key == string(a.key)
	}
	if s, ok := l.confirms.returned(a.ID, from); ok && s.c != nil {
		s.c.Complete(&messaging.OpError{Op: "publishing to", Addr: s.to.String(), Err: messaging.ErrNoRoute})
	}
}

// confirmed is told what the broker did with a message, or with all up to it.
func (l *lane) confirmed(number uint64, multiple, taken bool) {
	l.batch = l.confirms.confirmed(number, multiple, l.batch[:0])
	bytes := 0
	for i := range l.batch {
		s := &l.batch[i]
		bytes += s.bytes
		switch {
		case s.c == nil:
		case taken:
			s.c.Complete(nil)
		default:
			s.c.Complete(&messaging.OpError{Op: "publishing to", Addr: s.to.String(), Err: messaging.ErrRejected})
		}
		*s = sent{}
	}
	l.c.Told(len(l.batch), bytes)
}

// end tells all that wait that their outcome is unknown. e is why the broker
// closed the channel; nil: it did not.
func (l *lane) end(e *amqp.Error) {
	reason := l.c.Lost()
	if e != nil {
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
	l.c.Gate.Leave(len(rest), bytes)
}

func unknown(to messaging.Address, reason error) error {
	return &messaging.OpError{Op: "publishing to", Addr: to.String(), Err: joined(messaging.ErrOutcomeUnknown, reason)}
}
