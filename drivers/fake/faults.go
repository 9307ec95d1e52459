package fake

import (
	"github.com/patchbay-go/patchbay/messaging"
)

// The hooks in this file are for tests: they do to applications what real
// brokers and networks do. All are safe for concurrent use, and each takes
// effect before it returns.

// ConnInfo describes an open connection, for Cut.
type ConnInfo struct {
	Host      string // as in the URL
	Name      string // messaging.Options.Name, and what the core adds to it
	Listeners int
}

// CutAll cuts every connection and returns how many there were.
func (b *Broker) CutAll() int { return b.cut(func(ConnInfo) bool { return true }, errCut) }

// Cut cuts the connections for which match is true and returns their number.
// Unsettled deliveries of a cut connection go back to their queues, its pending
// outcomes are ErrOutcomeUnknown. New connections can be opened at once: see
// RefuseNew.
func (b *Broker) Cut(match func(ConnInfo) bool) int { return b.cut(match, errCut) }

func (b *Broker) cut(match func(ConnInfo) bool, reason error) int {
	var dying []*conn
	for _, c := range b.open() {
		if match(c.info()) && c.die(reason) {
			dying = append(dying, c)
		}
	}
	for _, c := range dying {
		c.bury()
	}
	return len(dying)
}

func (c *conn) info() ConnInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConnInfo{Host: c.host.Host, Name: c.name, Listeners: len(c.listeners)}
}

// Restart cuts every connection and then forgets what does not survive a
// restart: the queues of fanouts and replies, and in the others all messages
// that are not durable.
func (b *Broker) Restart() {
	b.mu.Lock()
	refuse := b.refuse
	b.refuse = true
	b.mu.Unlock()
	b.cut(func(ConnInfo) bool { return true }, errRestart)
	b.topology.restart()
	b.RefuseNew(refuse)
}

// RefuseNew makes every dial fail with ErrConnect while on.
func (b *Broker) RefuseNew(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = on
}

// RefuseHost makes every dial of one host of the URL fail with ErrConnect while
// on. Its open connections stay: see Cut.
func (b *Broker) RefuseHost(host string, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused[host] = on
}

// SetPassword makes dials with other credentials fail with ErrAuth. A broker
// accepts any at first.
func (b *Broker) SetPassword(username, password string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.password = &messaging.Credentials{Username: username, Password: password}
}

// Block makes every Send wait while on, as RabbitMQ's memory alarm does.
// Deliveries go on.
func (b *Broker) Block(on bool) { b.setState(blocked, on) }

// Freeze makes every connection a black hole while on: what is sent and settled
// is taken, up to the window, but reaches the broker only afterwards, and never
// if the connection is cut; nothing is delivered; dials and Listen hang until
// their context ends.
func (b *Broker) Freeze(on bool) { b.setState(frozen, on) }

// HoldConfirms keeps back the outcomes of sends while on, though the messages
// are routed: a cut then makes them ErrOutcomeUnknown.
func (b *Broker) HoldConfirms(on bool) { b.setState(holding, on) }

// Heal ends RefuseNew, RefuseHost, Block, Freeze and HoldConfirms.
func (b *Broker) Heal() {
	b.mu.Lock()
	b.refuse = false
	clear(b.refused)
	b.mu.Unlock()
	b.setState(blocked|frozen|holding, false)
}

func (b *Broker) setState(bits state, on bool) {
	b.mu.Lock()
	wasFrozen := b.state&frozen != 0
	if b.state &^= bits; on {
		b.state |= bits
	}
	if wasFrozen && b.state&frozen == 0 {
		close(b.thawed)
		b.thawed = make(chan struct{})
	}
	b.mu.Unlock()
	for _, c := range b.open() {
		c.setState(bits, on)
	}
}

// DeleteQueue deletes a queue and its messages, by its name in Queues, and
// reports whether it was there. Listeners on it notice and declare it again, so
// one with consumers only loses its messages: settling them has no effect.
func (b *Broker) DeleteQueue(name string) bool { return b.topology.deleteQueue(name) }

// QueueInfo describes a queue. The unsettled deliveries of stopped listeners
// are not counted.
type QueueInfo struct {
	Name      string // the address in words; for private queues with the instance
	Waiting   int
	Unsettled int // with a consumer
	Consumers int
	Durable   bool
}

// Queues returns the queues, by name.
func (b *Broker) Queues() []QueueInfo { return b.topology.infos() }

// Conns returns the number of open connections.
func (b *Broker) Conns() int { return len(b.open()) }

// DeadLetter is a message that a receiver settled with Drop.
type DeadLetter struct {
	To      messaging.Address
	Message messaging.Message
	Count   int // deliveries before the one that was dropped
}

// DeadLetters returns what was dropped, oldest first, the last 1024 at most.
func (b *Broker) DeadLetters() []DeadLetter { return b.topology.dead.list() }
