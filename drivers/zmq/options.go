package zmq

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// options are the URL's, checked. docs/zmq.md says what each does.
type options struct {
	directory string               // of sockets, absolute; empty: TCP
	bind      []messaging.HostPort // where to bind, the first that is possible; empty: the hosts
	advertise messaging.HostPort   // what others dial instead of where we bound; zero: that
	ports     int                  // how many ports each host stands for
	insecure  bool
	connector discovery.Connector // nil: the hosts, or the directory

	maxMessage int64 // bytes of body
	redialMax  time.Duration
	resend     time.Duration // how long what has no server any more is kept
	link       link.Options
	limits     link.Limits
}

const (
	defaultMaxMessage = 16 << 20
	maxPorts          = 256

	// Where a URL names neither host nor port. A port of its own is the one that
	// oslo.messaging's driver had.
	defaultHost  = "127.0.0.1"
	defaultPort  = 9501
	defaultPorts = 16
)

// readOptions reads the options of u from r, which collects what is wrong.
func readOptions(u *messaging.URL, r *messaging.OptionReader, backends []discovery.Backend) *options {
	o := &options{
		bind:       hostPorts(r, "bind"),
		ports:      atLeast(r, "ports", 1, 1),
		insecure:   r.Bool("insecure", false),
		maxMessage: int64(atLeast(r, "max_message_size", defaultMaxMessage, 1)),
		redialMax:  positive(r, "redial_max", 5*time.Second),
		resend:     r.Seconds("resend_window", 5*time.Minute),
		link: link.Options{
			Handshake:    positive(r, "connect_timeout", 5*time.Second),
			Heartbeat:    positive(r, "heartbeat_interval", 5*time.Second),
			Silence:      positive(r, "heartbeat_timeout", 15*time.Second),
			WriteTimeout: positive(r, "write_timeout", 10*time.Second),
		},
		limits: link.Limits{
			Links:      atLeast(r, "max_links", 4096, 1),
			PerHost:    atLeast(r, "max_links_per_host", 1024, 1),
			Handshakes: atLeast(r, "max_handshakes", 256, 1),
		},
	}
	if advertise := hostPorts(r, "advertise"); len(advertise) > 1 {
		r.Reject("advertise", "must be one host:port")
	} else if len(advertise) == 1 {
		o.advertise = advertise[0]
	}
	o.link.MaxMessage = o.maxMessage + proto.MaxProps + proto.HeadSize
	if o.maxMessage > 1<<30 {
		r.Reject("max_message_size", "must be at most 1073741824")
	}
	if o.link.Silence < 2*o.link.Heartbeat {
		r.Reject("heartbeat_timeout", "must be at least twice heartbeat_interval")
	}
	if o.ports > maxPorts {
		r.Reject("ports", "must be at most "+strconv.Itoa(maxPorts))
	}
	o.readDiscovery(u, r, backends)
	o.readPath(u, r)
	return o
}

// readDiscovery chooses the backend.
func (o *options) readDiscovery(u *messaging.URL, r *messaging.OptionReader, backends []discovery.Backend) {
	names := []string{"static"}
	for _, b := range backends {
		names = append(names, b.Name)
	}
	name := r.Enum("discovery", "static", names...)
	for _, b := range backends {
		if b.Name == name {
			o.connector = b.Configure(u, r)
		}
	}
	if o.connector != nil && u.Scheme == schemeIPC {
		r.Reject("discovery", "cannot be combined with "+schemeIPC+": the directory shows who is there")
	}
}

// readPath reads what is between the hosts and the options.
func (o *options) readPath(u *messaging.URL, r *messaging.OptionReader) {
	switch {
	case u.Scheme == schemeIPC:
		o.directory = filepath.Clean("/" + u.VirtualHost)
		if len(u.Hosts) > 0 || u.VirtualHost == "" {
			r.Reject(schemeIPC, "takes a directory and no host: "+schemeIPC+":///run/patchbay")
		}
		for _, name := range []string{"bind", "advertise", "ports"} {
			if r.String(name, "") != "" {
				r.Reject(name, "needs the scheme "+scheme+" or "+schemeTLS)
			}
		}
	case u.VirtualHost != "" && o.connector == nil:
		r.Reject("the path", "must be empty: there are no virtual hosts")
	}
	if len(u.Hosts) == 0 && r.String("ports", "") == "" {
		o.ports = defaultPorts
	}
}

// expand returns the hosts with their ports.
func (o *options) expand(hosts []messaging.HostPort) []messaging.HostPort {
	if len(hosts) == 0 {
		hosts = []messaging.HostPort{{}}
	}
	var all []messaging.HostPort
	for _, h := range hosts {
		if h.Host == "" {
			h.Host = defaultHost
		}
		if h.Port == 0 {
			h.Port = defaultPort
		}
		for i := range o.ports {
			if h.Port+i < 1<<16 {
				all = append(all, messaging.HostPort{Host: h.Host, Port: h.Port + i})
			}
		}
	}
	return all
}

// hostPorts reads host:port, several separated by commas. The port may be 0: any.
func hostPorts(r *messaging.OptionReader, name string) []messaging.HostPort {
	text := r.String(name, "")
	if text == "" {
		return nil
	}
	var all []messaging.HostPort
	for item := range strings.SplitSeq(text, ",") {
		host, port, err := net.SplitHostPort(item)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil {
			r.Reject(name, "must be host:port, not "+strconv.Quote(item))
			return nil
		}
		all = append(all, messaging.HostPort{Host: host, Port: int(n)})
	}
	return all
}

func atLeast(r *messaging.OptionReader, name string, def, least int) int {
	n := r.Int(name, def)
	if n < least {
		r.Reject(name, "must be at least "+strconv.Itoa(least))
		return def
	}
	return n
}

func positive(r *messaging.OptionReader, name string, def time.Duration) time.Duration {
	d := r.Seconds(name, def)
	if d < time.Millisecond {
		r.Reject(name, "must be at least 0.001 seconds")
		return def
	}
	return d
}

// capabilities are the same everywhere: there is no peer that could have others.
// What needs somewhere to keep a message while nobody is there to take it is
// absent.
func (o *options) capabilities() messaging.Capabilities {
	return messaging.Capabilities{
		Ordered:       true,
		Requeue:       true,
		Mandatory:     true,
		TTL:           true,
		Groups:        true,
		DeliveryCount: true,
		Exchanges:     true,
		MaxMessage:    o.maxMessage,
	}
}
