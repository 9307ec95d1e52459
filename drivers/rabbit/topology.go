package rabbit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file says which exchanges and queues there are, and with what flags. It
// is oslo.messaging's topology, because a queue is shared only by peers that
// declare it alike. ADR 0006 has the reasons.
//
//	object          name                        durable                  auto-delete       arguments
//	exchange        <exchange>, topic           durable or quorum        amqp_auto_delete
//	topic queue     <topic>                     durable or quorum        amqp_auto_delete  quorum's
//	server queue    <topic>.<server>            durable or quorum        amqp_auto_delete  quorum's
//	fanout exchange <topic>_fanout, fanout      transient quorum         always
//	fanout queue    <topic>_fanout_<instance>   any of the three         never             x-expires
//	reply queue     as the core wants it        any of the three         never             x-expires
//	                reply_<host>:<program>:<n>  with use_queue_manager, and so for fanout queues
//	fanout stream   <topic>_fanout              always                   never             x-max-age, with rabbit_stream_fanout
//	notifications   <topic>, or the group       as the topic queue
//	tap             <topic>_tap_<instance>      as the reply queue           never             x-expires, x-max-length and -bytes
//
// The words * and # of a name are \* and \# in queues and keys.

// exchange is one exchange as it is declared. The default exchange, which
// nobody declares, has no name.
type exchange struct {
	name       string
	kind       string
	durable    bool
	autoDelete bool
}

// queue is one queue as it is declared.
type queue struct {
	name       string
	durable    bool
	autoDelete bool
	args       amqp.Table
}

// binding says which messages of an exchange reach a queue.
type binding struct {
	exchange exchange
	key      string
}

// plan is one queue to consume from.
type plan struct {
	queue    queue
	bindings []binding
	stream   bool   // it is read, not emptied
	prefix   string // of a managed queue: the name, but for what manage makes of it
	key      string // of what is kept over connections; empty: nothing is
	private  bool   // nobody else uses it: it is deleted in the end
	direct   bool   // there is no queue of that name: replies come without one
	sources  []int  // of the subscription, one for each binding; one in all for a reply queue
}

// route is where a message is published.
type route struct {
	exchange exchange
	key      string
}

const maxShortString = 255 // bytes, of a name, a key and a property in AMQP 0-9-1

// route returns where messages to an address are published.
func (o *options) route(to messaging.Address) route {
	switch {
	case to.Kind == messaging.KindReply:
		return route{key: to.Direct}
	case to.Fanout:
		return route{exchange: o.fanoutExchange(to.Topic)}
	}
	return route{exchange: o.topicExchange(to.Exchange), key: routingKey(to)}
}

// plans returns the queues of a subscription.
func (o *options) plans(sub messaging.Subscription) ([]plan, error) {
	var plans []plan
	switch {
	case sub.Group != "":
		plans = []plan{o.gathering(o.sharedQueue(sub.Group), sub.Sources)}
	case sub.Tap:
		p := o.gathering(o.tapQueue(routingKey(sub.Sources[0])+"_tap_"+sub.Instance), sub.Sources)
		p.private = true
		plans = []plan{p}
	case len(sub.Sources) == 0 && o.directReply:
		plans = []plan{{queue: queue{name: sub.Reply}, direct: true, sources: []int{0}}}
	case len(sub.Sources) == 0:
		plans = []plan{o.private("reply_", sub.Reply, sub.Reply)}
	default:
		for i, a := range sub.Sources {
			plans = append(plans, o.source(a, sub.Instance, i))
		}
	}
	for _, p := range plans {
		if n := len(p.queue.name); n == 0 || n > maxShortString {
			return nil, fmt.Errorf("%w: queue name %q has %d bytes, 1 to %d are possible: %w",
				messaging.ErrInvalidTarget, p.queue.name, n, maxShortString, messaging.ErrPermanent)
		}
	}
	return plans, nil
}

func (o *options) source(a messaging.Address, instance string, index int) plan {
	if a.Fanout {
		x := o.fanoutExchange(a.Topic)
		var p plan
		if o.streamFanout {
			p = plan{queue: o.stream(x.name), stream: true, key: x.name + " for " + instance}
		} else {
			p = o.private(x.name+"_", x.name+"_"+instance, x.name+" for "+instance)
		}
		p.bindings, p.sources = []binding{{x, a.Topic}}, []int{index}
		return p
	}
	key := routingKey(a)
	return plan{
		queue:    o.sharedQueue(key),
		bindings: []binding{{o.topicExchange(a.Exchange), key}},
		sources:  []int{index},
	}
}

// private returns a queue of its owner alone, with a name that is made up or, with
// the queue manager, begins with prefix.
func (o *options) private(prefix, name, key string) plan {
	p := plan{queue: o.privateQueue(name), private: true, sources: []int{0}}
	if o.queueManager {
		p.private, p.prefix, p.key = false, prefix, key
	}
	return p
}

// gathering returns one queue that takes the messages of all sources: that of a
// group, which has its name, or of a tap.
func (o *options) gathering(q queue, sources []messaging.Address) plan {
	p := plan{queue: q}
	for i, a := range sources {
		x := o.topicExchange(a.Exchange)
		if a.Fanout {
			x = o.fanoutExchange(a.Topic)
		}
		p.bindings = append(p.bindings, binding{x, routingKey(a)})
		p.sources = append(p.sources, i)
	}
	return p
}

// index returns which source of the subscription a message came from.
func (p *plan) index(exchange, key []byte) int {
	if len(p.sources) > 1 {
		for i, b := range p.bindings {
			if string(exchange) == b.exchange.name && (b.key == string(key) || b.exchange.kind == amqp.ExchangeFanout) {
				return p.sources[i]
			}
		}
	}
	return p.sources[0]
}

// routingKey returns the key of an address. A word that a topic exchange would take
// for a pattern gets a backslash before it; one that looks so already, another.
func routingKey(a messaging.Address) string {
	key := a.Topic
	if a.Server != "" {
		key += "." + a.Server
	}
	if !strings.ContainsAny(key, "*#") {
		return key
	}
	words := strings.Split(key, ".")
	for i, word := range words {
		if last := strings.TrimLeft(word, `\`); last == "*" || last == "#" {
			words[i] = `\` + word
		}
	}
	return strings.Join(words, ".")
}

func (o *options) topicExchange(name string) exchange {
	if name == "" {
		name = o.controlExchange
	}
	return exchange{name: name, kind: amqp.ExchangeTopic, durable: o.durable || o.quorum, autoDelete: o.autoDelete}
}

// fanoutExchange returns a topic's fanout exchange. Its name holds no exchange:
// oslo.messaging's does not.
func (o *options) fanoutExchange(topic string) exchange {
	return exchange{name: topic + "_fanout", kind: amqp.ExchangeFanout, durable: o.transientQuorum, autoDelete: true}
}

// sharedQueue returns a queue that peers declare too.
func (o *options) sharedQueue(name string) queue {
	q := queue{name: name, durable: o.durable || o.quorum, autoDelete: o.autoDelete, args: o.mirrored()}
	if o.quorum {
		q.args[amqp.QueueTypeArg] = amqp.QueueTypeQuorum
		set(q.args, "x-delivery-limit", o.deliveryLimit)
		set(q.args, "x-max-in-memory-length", o.maxMemoryLength)
		set(q.args, "x-max-in-memory-bytes", o.maxMemoryBytes)
	}
	return q
}

// privateQueue returns a queue that only its owner declares, and which the
// broker deletes some time after the owner has gone without a word.
//
// It is durable where the shared queues are: a broker that forbids transient
// queues, for which the options say so, forbids them here as well, and closes the
// connection instead of answering.
func (o *options) privateQueue(name string) queue {
	q := queue{name: name, durable: o.durable || o.quorum || o.transientQuorum, args: o.mirrored()}
	if o.transientQuorum {
		q.args[amqp.QueueTypeArg] = amqp.QueueTypeQuorum
	}
	if o.transientTTL > 0 {
		q.args[amqp.QueueTTLArg] = int32(o.transientTTL.Milliseconds())
	}
	return q
}

// A queue of a tap holds so much of what it has not fetched, then drops the oldest.
const (
	tapMessages = 10_000
	tapBytes    = 64 << 20
)

// tapQueue returns the private queue of a tap. Nobody waits for who only watches, so
// one that stalls must fill no broker. The overflow is said although it is the
// default: where a policy for all queues has them refuse messages, publishers would
// pay for the tap. Of a quorum queue the broker heeds the policy all the same.
func (o *options) tapQueue(name string) queue {
	q := o.privateQueue(name)
	q.args[amqp.QueueMaxLenArg] = int32(tapMessages)
	q.args[amqp.QueueMaxLenBytesArg] = int32(tapBytes)
	q.args[amqp.QueueOverflowArg] = amqp.QueueOverflowDropHead
	return q
}

// stream returns the stream that the servers of a topic share for fanouts.
func (o *options) stream(name string) queue {
	q := queue{name: name, durable: true, args: amqp.Table{amqp.QueueTypeArg: queueStream}}
	if o.transientTTL > 0 {
		q.args[streamMaxAge] = strconv.FormatInt(int64(o.transientTTL/time.Second), 10) + "s"
	}
	return q
}

// mirrored returns the arguments of every queue: classic mirroring, which brokers
// since 3.0 ignore and whose peers still declare it.
func (o *options) mirrored() amqp.Table {
	if o.haQueues {
		return amqp.Table{"x-ha-policy": "all"}
	}
	return amqp.Table{}
}

// lasting reports whether queues outlive the broker, so that a message is not
// accepted before it is on a disk, or on other nodes.
func (o *options) lasting() bool { return o.durable || o.quorum || o.transientQuorum }

// set sets an integer argument in the width that oslo.messaging's encoder
// chooses, unless it is 0.
func set(t amqp.Table, name string, n int) {
	switch {
	case n == 0:
	case n <= math.MaxInt32:
		t[name] = int32(n)
	default:
		t[name] = int64(n)
	}
}
