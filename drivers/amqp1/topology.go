package amqp1

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file says which nodes there are. What each is called at a broker, and how
// it comes to be there, is its profile's.
//
//	address           node       name
//	topic             work       rpc.<exchange>.<topic>
//	server            work       rpc.<exchange>.<topic>.<server>
//	fanout            broadcast  fanout.<exchange>.<topic>
//	notifications     notes      notify.<exchange>.<topic>
//	group             notes      group.<exchange>.<group>
//	reply             reply      reply.<name>
//
// Names in them are escaped, so that each dot is a separator, and a slash, a
// wildcard or a colon means nothing to any broker.

// node is a place at a broker.
type node struct {
	kind nodeKind
	name string
}

type nodeKind uint8

const (
	nodeWork      nodeKind = iota // a queue that its listeners share
	nodeBroadcast                 // each listener has its own copy
	nodeNotes                     // a queue of notifications
	nodeReply                     // the reply address of one client
)

// addressing maps addresses to nodes: ours, or one of oslo.messaging's two.
type addressing interface {
	node(a messaging.Address) node
}

// nativeAddresses are ours.
type nativeAddresses struct{ exchange string } // where an address names none

func (n nativeAddresses) node(a messaging.Address) node {
	exchange := a.Exchange
	if exchange == "" {
		exchange = n.exchange
	}
	switch {
	case a.Kind == messaging.KindNotify:
		return node{nodeNotes, dotted("notify", exchange, a.Topic)}
	case a.Fanout:
		return node{nodeBroadcast, dotted("fanout", exchange, a.Topic)}
	case a.Server != "":
		return node{nodeWork, dotted("rpc", exchange, a.Topic, a.Server)}
	}
	return node{nodeWork, dotted("rpc", exchange, a.Topic)}
}

// group is the queue of a pool.
func (n nativeAddresses) group(sub messaging.Subscription) node {
	exchange := sub.Sources[0].Exchange
	if exchange == "" {
		exchange = n.exchange
	}
	return node{nodeNotes, dotted("group", exchange, sub.Group)}
}

func replyNode(name string) node { return node{nodeReply, dotted("reply", name)} }

func dotted(kind string, names ...string) string {
	var b strings.Builder
	b.WriteString(kind)
	for _, n := range names {
		b.WriteByte('.')
		escape(&b, n)
	}
	return b.String()
}

// escape writes a name with everything but letters, digits, "-" and "_" as "%"
// and two hexadecimal digits.
func escape(b *strings.Builder, name string) {
	const hex = "0123456789ABCDEF"
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

// fit returns a name of limit bytes at most: a longer one is cut, and has a hash
// of all of it instead of its end. A limit of 0 is none.
func fit(name string, limit int) string {
	if limit == 0 || len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "~" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20])
	return name[:limit-len(hash)] + hash
}

// terminus is one end of a link, as it is attached, and what a message that is
// sent there says of it. It may be compared by its address.
type terminus struct {
	address      string
	capabilities []string
	subject      string // of each message; empty: none
	anonymous    bool   // over the link for all addresses, by each message's property "to"
}

// queue is one that we declare, where a broker needs that.
type queue struct {
	name     string
	private  bool     // nobody else uses it: it is deleted in the end
	bindings []string // keys of the exchange
}

// plan is one place to receive from.
type plan struct {
	source  terminus
	queue   *queue              // to declare first, or nil
	dynamic bool                // the peer chooses the address
	index   func(to string) int // which source of the subscription a message came from
}

// plans returns where a subscription receives from.
func (c *conn) plans(sub messaging.Subscription) []plan {
	switch {
	case len(sub.Sources) == 0:
		p := c.plan(replyNode(sub.Reply), sub.Instance, 0)
		p.dynamic = c.p.dynamicReply
		return []plan{p}
	case sub.Group != "":
		return []plan{c.groupPlan(sub)}
	}
	var all []plan
	for i, a := range sub.Sources {
		all = append(all, c.plan(c.address.node(a), sub.Instance, i))
	}
	return all
}

func (c *conn) plan(n node, instance string, index int) plan {
	p := plan{source: c.p.source(n), index: func(string) int { return index }}
	if c.p.queue != nil {
		p.queue = c.p.queue(n, instance)
	}
	if p.queue != nil {
		p.source = c.p.source(node{nodeWork, p.queue.name})
	}
	return p
}

// groupPlan is the queue of a pool, which gets the messages of all sources. Only
// a broker where we declare it has such.
func (c *conn) groupPlan(sub messaging.Subscription) plan {
	q := queue{name: fit(c.native.group(sub).name, c.p.limit)}
	indexes := map[string]int{}
	for i, a := range sub.Sources {
		n := c.address.node(a)
		q.bindings = append(q.bindings, fit(n.name, c.p.limit))
		indexes[c.p.target(n).address] = i
	}
	return plan{
		source: c.p.source(node{nodeWork, q.name}), queue: &q,
		index: func(to string) int { return indexes[to] },
	}
}
