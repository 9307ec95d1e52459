package rpc

import (
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// DefaultTimeout is how long a call, or the wait for the outcome of a cast,
// takes at most when neither ctx nor the options say so. It is oslo.messaging's
// rpc_response_timeout.
const DefaultTimeout = 60 * time.Second

// ClientOptions are the options of a Client. Nil means all defaults.
type ClientOptions struct {
	// Timeout bounds every operation: the earlier of it and ctx's deadline
	// counts. Default: DefaultTimeout.
	Timeout time.Duration

	// VersionCap refuses to send requests of a version which a server of the
	// cap's version could not serve, so that new clients can live with old
	// servers. A request without a version is refused under any cap, as
	// oslo.messaging does. Default: none.
	VersionCap string

	// Retry is how many more attempts there are to send what was surely not
	// sent. Default: until the timeout; negative: none.
	Retry int

	// Monitor makes servers send heartbeats during calls, one every half of
	// it; a call without any for that long is messaging.ErrServerLost. A client
	// whose process stood still at the end of that waits for half as long again. Servers
	// bound the rate to one every 10 ms; those of oslo.messaging count whole
	// seconds, and send none when it is less than 2 s. Default: none.
	Monitor time.Duration

	// Mandatory makes it messaging.ErrNoRoute, at once, when nobody listens.
	// It needs Capabilities.Mandatory. That nobody got a fanout is known on
	// RabbitMQ, in memory and without a broker; elsewhere it is no error. Default:
	// such casts are lost or wait for a server, and such calls end with the
	// timeout; without a broker they are messaging.ErrNoRoute all the same.
	Mandatory bool

	// Errors returns the Go error that a remote failure stands for, or nil:
	// the *RemoteError unwraps to it, for errors.Is and errors.As. It comes
	// before what this package knows: ErrNoSuchMethod, ErrUnsupportedVersion
	// and, for Python's TypeError, ErrBadArguments. See ErrorMap. Default: none.
	Errors func(*RemoteError) error

	Encoding   Encoding     // default: &JSON{}
	Middleware []Middleware // the first is the outermost
}

// Client sends requests to one target. It is immutable and safe for
// concurrent use; Prepare derives others from it, for a server of the topic,
// say, or with a longer timeout.
//
// Its errors are *messaging.OpError values that name operation and address. Errors
// of transport match those of package messaging: ErrNoRoute, ErrServerLost,
// ErrTimeout, ErrOutcomeUnknown and the others; failures of the remote handler
// are a *RemoteError.
type Client struct {
	transport *messaging.Transport
	target    messaging.Target
	opts      ClientOptions
	send      messaging.SendOptions

	// The same for all that Prepare derives.
	invoke   Invoker    // the middleware round transmit
	requests *sync.Pool // of *outgoing

	// Made by build.
	address messaging.Address
	fanout  messaging.Address
	capped  version // the parsed VersionCap
	err     error   // what is wrong with target or options; every operation returns it
}

// NewClient returns a client of target. opts may be nil. An invalid target or
// version is reported by the operations of the client.
func NewClient(t *messaging.Transport, target messaging.Target, opts *ClientOptions) *Client {
	c := &Client{transport: t, target: target, requests: &sync.Pool{}}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Timeout <= 0 {
		c.opts.Timeout = DefaultTimeout
	}
	if c.opts.Encoding == nil {
		c.opts.Encoding = &JSON{}
	}
	c.invoke = chain(transmit, c.opts.Middleware)
	c.send.Retry = c.opts.Retry
	c.send.Mandatory = c.opts.Mandatory
	c.build()
	return c
}

// build makes what follows from target and options.
func (c *Client) build() {
	all := c.target
	all.Fanout = true
	c.address, c.fanout = c.target.Address(), all.Address()
	c.err = c.check()
}

// check parses what has to be parsed once.
func (c *Client) check() error {
	capErr := c.parseCap()
	if err := c.target.Validate(); err != nil {
		return err
	}
	if c.target.Version != "" {
		if _, err := parseVersion(c.target.Version); err != nil {
			return err
		}
	}
	return capErr
}

func (c *Client) parseCap() (err error) {
	if c.opts.VersionCap == "" {
		return nil
	}
	if c.capped, err = parseVersion(c.opts.VersionCap); err != nil {
		c.capped.major = -1 // lets nothing through
		return fmt.Errorf("version cap: %w", err)
	}
	return nil
}

// Target returns where the client sends to.
func (c *Client) Target() messaging.Target { return c.target }

// CanSendVersion reports whether the version cap lets version through; "" is
// the client's own. Without a cap everything goes through; under a cap no
// version at all, and one that is invalid, do not.
func (c *Client) CanSendVersion(version string) bool {
	if version == "" {
		version = c.target.Version
	}
	return c.allows(version)
}

func (c *Client) allows(version string) bool {
	if c.opts.VersionCap == "" {
		return true
	}
	v, err := parseVersion(version)
	return err == nil && c.capped.serves(v)
}

// Option changes what Prepare copies.
type Option func(*Client)

// Prepare returns a copy of c with some things changed. An invalid version or
// name is reported by the copy's operations.
func (c *Client) Prepare(opts ...Option) *Client {
	p := *c
	for _, o := range opts {
		o(&p)
	}
	p.build()
	return &p
}

// WithExchange sends to that exchange.
func WithExchange(name string) Option { return func(c *Client) { c.target.Exchange = name } }

// WithTopic sends to that topic.
func WithTopic(name string) Option { return func(c *Client) { c.target.Topic = name } }

// WithServer sends to that server of the topic and no other; "" means any.
func WithServer(name string) Option { return func(c *Client) { c.target.Server = name } }

// WithNamespace asks for endpoints of that namespace; "" is the null namespace.
func WithNamespace(name string) Option { return func(c *Client) { c.target.Namespace = name } }

// WithVersion asks for endpoints that can serve that version.
func WithVersion(v string) Option { return func(c *Client) { c.target.Version = v } }

// WithTimeout is ClientOptions.Timeout.
func WithTimeout(d time.Duration) Option {
	return func(c *Client) {
		c.opts.Timeout = d
		if d <= 0 {
			c.opts.Timeout = DefaultTimeout
		}
	}
}

// WithRetry is ClientOptions.Retry.
func WithRetry(n int) Option { return func(c *Client) { c.send.Retry = n } }

// WithMonitor is ClientOptions.Monitor.
func WithMonitor(d time.Duration) Option { return func(c *Client) { c.opts.Monitor = d } }

// WithMandatory is ClientOptions.Mandatory.
func WithMandatory(on bool) Option { return func(c *Client) { c.send.Mandatory = on } }

// WithTTL lets a broker drop requests that waited that long for a server. It
// needs Capabilities.TTL. A call's request lives no longer than its deadline
// anyway, where the driver can do that.
func WithTTL(d time.Duration) Option { return func(c *Client) { c.send.TTL = d } }

// WithPriority sends with priority 0 (the default) to 9. It needs
// Capabilities.Priority.
func WithPriority(p uint8) Option { return func(c *Client) { c.send.Priority = p } }

// WithDurable makes requests survive a restart of the broker, where their
// queue does. It needs Capabilities.Durable.
func WithDurable(on bool) Option { return func(c *Client) { c.send.Durable = on } }

// WithOrderKey sends all requests with the same key over the same connection,
// in order. It needs Capabilities.Ordered to arrive in that order, and a
// Blocking executor to be handled in it.
func WithOrderKey(key string) Option { return func(c *Client) { c.send.OrderKey = key } }
