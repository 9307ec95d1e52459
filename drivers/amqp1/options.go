package amqp1

import (
	"crypto/rand"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// options are the URL's, checked. Their names are those of oslo.messaging's old
// amqp1 driver where it had one; docs/brokers.md says what each does.
type options struct {
	profile *profile // nil: what the peer says it is
	wire    string
	vhost   string

	valueType string // the content type of a message whose body is a string and not data

	controlExchange string
	oslo            osloAddresses

	prefetch     int           // 0: the subscription's
	transientTTL time.Duration // of private queues, where we declare them; 0: for ever
	maxMessage   int64         // 0: what the broker says
	settledCasts bool

	management *url.URL // of the broker's REST port; nil: none

	container   string
	idleTimeout time.Duration // 0: none
	mechanisms  []string
}

const (
	wireNative = "native"
	wireOslo   = "oslo"

	preSettledCast = "rpc-cast"
)

// readOptions reads the options of u but for those of TLS, from r, which
// collects what is wrong.
func readOptions(u *messaging.URL, r *messaging.OptionReader) *options {
	o := &options{
		profile:         profileNamed(r.Enum("broker", "", profileNames()...)),
		wire:            r.Enum("wire", wireNative, wireNative, wireOslo),
		controlExchange: r.String("control_exchange", "openstack"),
		prefetch:        natural(r, "prefetch", 0, maxPrefetch),
		transientTTL:    r.Seconds("transient_queues_ttl", 30*time.Minute),
		maxMessage:      int64(natural(r, "max_message_size", 0, 512<<20)),
		settledCasts:    r.Enum("pre_settled", "", "", preSettledCast) != "",
		container:       r.String("container_name", ""),
		idleTimeout:     r.Seconds("idle_timeout", time.Minute),
		mechanisms:      strings.Fields(r.String("sasl_mechanisms", "")),
		vhost:           u.VirtualHost,
	}
	o.management = readManagement(r)
	o.oslo = readOsloAddresses(r, o)
	o.check(r)
	return o
}

func (o *options) check(r *messaging.OptionReader) {
	if n := len(o.controlExchange); n == 0 || n > messaging.MaxName {
		r.Reject("control_exchange", "must have 1 to "+strconv.Itoa(messaging.MaxName)+" bytes")
	}
	if o.transientTTL > 0 && o.transientTTL < time.Second {
		r.Reject("transient_queues_ttl", "must be 0 (never) or at least 1 second")
	}
	if o.idleTimeout > 0 && o.idleTimeout < 100*time.Millisecond {
		r.Reject("idle_timeout", "must be 0 (none) or at least 0.1 seconds")
	}
	for _, m := range o.mechanisms {
		if m != mechanismPlain && m != mechanismAnonymous && m != mechanismExternal {
			r.Reject("sasl_mechanisms", "must be some of PLAIN, ANONYMOUS and EXTERNAL, with blanks between them")
		}
	}
	if o.wire == wireOslo {
		return
	}
	for _, name := range osloOptions() {
		if r.String(name, "") != "" {
			r.Reject(name, "needs wire=oslo")
		}
	}
}

// readManagement reads the address of a REST port. Credentials do not belong there:
// they are the connection's.
func readManagement(r *messaging.OptionReader) *url.URL {
	text := r.String("management", "")
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		r.Reject("management", "must be http:// or https://, a host with its port and no credentials, and the names of the virtual host's node and the virtual host or nothing")
		return nil
	}
	if path := strings.Trim(u.Path, "/"); path != "" && strings.Count(path, "/") != 1 {
		r.Reject("management", "must end in NODE/VIRTUALHOST, or in nothing")
		return nil
	}
	return u
}

// idle is the idle timeout as the library wants it.
func (o *options) idle() time.Duration {
	if o.idleTimeout == 0 {
		return -1
	}
	return o.idleTimeout
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

// containerID returns a name of our end of one connection.
func containerID(container, name string) string {
	if container == "" {
		container = name
	}
	return container + "/" + rand.Text()
}
