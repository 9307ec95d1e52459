package rabbit

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// options are the URL's, checked. Their names are oslo.messaging's where it
// has one; docs/rabbit.md says what each does.
type options struct {
	// Flags of queues and exchanges; see topology.go.
	durable         bool
	autoDelete      bool
	quorum          bool
	transientQuorum bool
	deliveryLimit   int
	maxMemoryLength int
	maxMemoryBytes  int
	transientTTL    time.Duration
	haQueues        bool
	streamFanout    bool
	queueManager    bool
	hostname        string
	processname     string
	controlExchange string

	// Receiving.
	prefetch         int // 0: the subscription's
	cancelOnFailover bool

	// Sending.
	directMandatory bool
	maxMessage      int64 // 0: the broker version's default

	// Connecting.
	heartbeat time.Duration
	login     string // empty: AMQPLAIN, or PLAIN where the broker does not offer it
	vhost     string
	wire      string

	shareConnection bool // for sending and listening
	directReply     bool // replies come without a queue
}

const (
	wireOslo   = "oslo"
	wireNative = "native"

	loginPlain    = "PLAIN"
	loginAMQPlain = "AMQPLAIN"
	loginExternal = "EXTERNAL"
)

// readOptions reads the options of u but for those of TLS, from r, which
// collects what is wrong.
func readOptions(u *messaging.URL, r *messaging.OptionReader) *options {
	o := &options{
		durable:          r.Bool("amqp_durable_queues", false),
		autoDelete:       r.Bool("amqp_auto_delete", false),
		quorum:           r.Bool("rabbit_quorum_queue", false),
		transientQuorum:  r.Bool("rabbit_transient_quorum_queue", false),
		deliveryLimit:    natural(r, "rabbit_quorum_delivery_limit", 0, math.MaxInt32),
		maxMemoryLength:  natural(r, "rabbit_quorum_max_memory_length", 0, math.MaxInt),
		maxMemoryBytes:   natural(r, "rabbit_quorum_max_memory_bytes", 0, math.MaxInt),
		transientTTL:     r.Seconds("rabbit_transient_queues_ttl", 30*time.Minute),
		haQueues:         r.Bool("rabbit_ha_queues", false),
		streamFanout:     r.Bool("rabbit_stream_fanout", false),
		queueManager:     r.Bool("use_queue_manager", false),
		hostname:         r.String("hostname", ""),
		processname:      r.String("processname", filepath.Base(os.Args[0])),
		controlExchange:  r.String("control_exchange", "openstack"),
		prefetch:         natural(r, "rabbit_qos_prefetch_count", 0, math.MaxUint16),
		cancelOnFailover: r.Bool("enable_cancel_on_failover", false),
		directMandatory:  r.Bool("direct_mandatory_flag", true),
		maxMessage:       int64(natural(r, "max_message_size", 0, 512<<20)),
		heartbeat:        r.Seconds("heartbeat_timeout_threshold", time.Minute),
		login:            r.Enum("rabbit_login_method", "", loginPlain, loginAMQPlain, loginExternal),
		wire:             r.Enum("wire", wireOslo, wireOslo, wireNative),
		shareConnection:  r.Bool("share_connection", false),
		directReply:      r.Bool("direct_reply_to", false),
		vhost:            "/",
	}
	if u.VirtualHost != "" {
		o.vhost = u.VirtualHost
	}
	o.check(r)
	return o
}

// check reports combinations that no broker takes.
func (o *options) check(r *messaging.OptionReader) {
	if o.streamFanout && !o.transientQuorum {
		r.Reject("rabbit_stream_fanout", "needs rabbit_transient_quorum_queue, as with oslo.messaging")
	}
	if o.haQueues && o.quorum {
		r.Reject("rabbit_ha_queues", "cannot be combined with rabbit_quorum_queue: a queue is of one kind")
	}
	if o.queueManager {
		o.checkManager(r)
	}
	if o.quorum && o.autoDelete {
		r.Reject("amqp_auto_delete", "cannot be combined with rabbit_quorum_queue: RabbitMQ refuses such queues")
	}
	if o.controlExchange == "" || len(o.controlExchange) > messaging.MaxName {
		r.Reject("control_exchange", "must have 1 to "+strconv.Itoa(messaging.MaxName)+" bytes")
	}
	if o.transientTTL > 0 && (o.transientTTL < time.Millisecond || o.transientTTL.Milliseconds() > math.MaxInt32) {
		r.Reject("rabbit_transient_queues_ttl", "must be 0 (never) or 0.001 to 2147483 seconds")
	}
	if o.heartbeat > math.MaxUint16*time.Second || o.heartbeat%time.Second != 0 {
		r.Reject("heartbeat_timeout_threshold", "must be a whole number of seconds up to 65535")
	}
	for _, q := range []struct {
		name string
		n    int
	}{
		{"rabbit_quorum_delivery_limit", o.deliveryLimit},
		{"rabbit_quorum_max_memory_length", o.maxMemoryLength},
		{"rabbit_quorum_max_memory_bytes", o.maxMemoryBytes},
	} {
		if q.n > 0 && !o.quorum {
			r.Reject(q.name, "needs rabbit_quorum_queue")
		}
	}
}

// checkManager completes and checks the names of managed queues.
func (o *options) checkManager(r *messaging.OptionReader) {
	if o.hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			r.Reject("hostname", "must be given: the system does not tell it")
		}
		o.hostname = name
	}
	const most = 100 // bytes
	for name, value := range map[string]string{"hostname": o.hostname, "processname": o.processname} {
		if value == "" || len(value) > most {
			r.Reject(name, "must have 1 to "+strconv.Itoa(most)+" bytes")
		}
	}
}

// natural reads an integer from 0 to limit.
func natural(r *messaging.OptionReader, name string, def, limit int) int {
	n := r.Int(name, def)
	if n < 0 || n > limit {
		r.Reject(name, "must be 0 to "+strconv.Itoa(limit))
		return def
	}
	return n
}

// capabilities returns what a broker of that version can do with these options.
func (o *options) capabilities(version string) messaging.Capabilities {
	c := messaging.Capabilities{
		Durable:       o.durable || o.quorum,
		Ordered:       true,
		Requeue:       true,
		Mandatory:     true,
		TTL:           true,
		Groups:        true,
		Taps:          true,
		OfflineCast:   !o.autoDelete,
		DeliveryCount: o.quorum,
		StableReply:   !o.directReply,
		MaxMessage:    o.maxMessage,
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = defaultMaxMessage(version)
	}
	return c
}

// defaultMaxMessage returns RabbitMQ's default of max_message_size, which it
// does not tell its clients: 16 MiB since 4.0, 128 MiB before.
func defaultMaxMessage(version string) int64 {
	if len(version) > 1 && version[0] <= '3' && version[1] == '.' {
		return 128 << 20
	}
	return 16 << 20
}
