// Package redis lets nodes of the zmq driver find each other through Redis:
//
//	messaging.Registry{"zmq": zmq.Opener(redis.Backend())}
//	zmq://user:password@redis-host:6379/0?discovery=redis&bind=0.0.0.0:9501
//
// The hosts of the URL are those of Redis, of which one is enough; its path is the
// number of the database. User and password are those of the nodes' links: Redis
// has options of its own, redis_username and redis_password.
//
// Each node that listens holds a lease, a key that expires soon after its process
// has died. While Redis is down everybody goes on with what they knew: it is asked
// who may be there, never whether somebody lives.
package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/internal/throttle"
	"github.com/patchbay-go/patchbay/messaging"
)

// Backend returns the backend that ?discovery=redis chooses.
func Backend() discovery.Backend {
	return discovery.Backend{Name: "redis", Configure: configure}
}

// options are the URL's.
type options struct {
	cluster  string
	username string
	password string
	secure   bool
	db       int
	lease    time.Duration
	poll     time.Duration
}

const (
	defaultPort = 6379
	timeout     = 2 * time.Second // of one exchange with Redis
	settleTime  = 50 * time.Millisecond
)

func configure(u *messaging.URL, r *messaging.OptionReader) discovery.Connector {
	o := &options{
		cluster:  r.String("discovery_cluster", "default"),
		username: r.String("redis_username", ""),
		password: r.String("redis_password", ""),
		secure:   r.Bool("redis_tls", false),
		lease:    r.Seconds("discovery_lease", 6*time.Second),
		poll:     r.Seconds("discovery_interval", time.Second),
	}
	if o.lease < 300*time.Millisecond {
		r.Reject("discovery_lease", "must be at least 0.3 seconds")
	}
	if o.poll < 10*time.Millisecond {
		r.Reject("discovery_interval", "must be at least 0.01 seconds")
	}
	if u.VirtualHost != "" {
		n, err := strconv.Atoi(u.VirtualHost)
		if err != nil || n < 0 {
			r.Reject("the path", "must be the number of a Redis database")
		}
		o.db = n
	}
	return o.connect
}

// connect makes a view. It opens no connection yet.
func (o *options) connect(ctx context.Context, c discovery.Config) (discovery.Discovery, error) {
	hosts := c.Hosts
	if len(hosts) == 0 {
		hosts = []messaging.HostPort{{}}
	}
	var addresses []string
	for _, h := range hosts {
		addresses = append(addresses, net.JoinHostPort(cmp.Or(h.Host, "127.0.0.1"), strconv.Itoa(cmp.Or(h.Port, defaultPort))))
	}
	v := &view{
		o: o, log: c.Logger, prefix: "patchbay:zmq:" + o.cluster + ":",
		addresses: strings.Join(addresses, ","),
	}
	v.life, v.end = context.WithCancel(context.WithoutCancel(ctx))
	v.client = goredis.NewClient(&goredis.Options{
		Addr:       addresses[0],
		Dialer:     o.dialer(addresses),
		ClientName: "patchbay",
		Username:   o.username, Password: o.password, DB: o.db,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, PoolSize: 2,
		DisableIdentity: true,
	})
	return v, nil
}

// dialer tries the hosts in turn.
func (o *options) dialer(addresses []string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var errs []error
		for _, a := range addresses {
			nc, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, network, a)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if !o.secure {
				return nc, nil
			}
			host, _, _ := net.SplitHostPort(a)
			secure := tls.Client(nc, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
			if err := secure.HandshakeContext(ctx); err != nil {
				_ = nc.Close()
				errs = append(errs, err)
				continue
			}
			return secure, nil
		}
		return broken{err: errors.Join(errs...)}, nil
	}
}

// broken is the connection to a Redis that cannot be reached. The library prints
// every failed dial on the program's stderr, through a logger that is the whole
// program's; the error of a connection it hands on.
type broken struct {
	net.Conn
	err error
}

func (b broken) Read([]byte) (int, error)       { return 0, b.err }
func (b broken) Write([]byte) (int, error)      { return 0, b.err }
func (broken) Close() error                     { return nil }
func (broken) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (broken) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (broken) SetDeadline(time.Time) error      { return nil }
func (broken) SetReadDeadline(time.Time) error  { return nil }
func (broken) SetWriteDeadline(time.Time) error { return nil }

// view implements discovery.Discovery.
type view struct {
	o         *options
	log       *slog.Logger
	noise     throttle.Limit
	client    *goredis.Client
	prefix    string
	addresses string

	life    context.Context //nolint:containedctx // of the goroutines
	end     context.CancelFunc
	running sync.WaitGroup
}

func (v *view) key(endpoint string) string { return v.prefix + "node:" + endpoint }
func (v *view) index() string              { return v.prefix + "nodes" }
func (v *view) channel() string            { return v.prefix + "changed" }

func (v *view) explain(doing string, err error) error {
	return &messaging.OpError{Op: doing, Addr: v.addresses, Err: err}
}

// warn tells of a Redis that does not answer, not of each time.
func (v *view) warn(err error) {
	if _, ok := v.noise.Allow(); ok {
		v.log.Warn("patchbay: discovery goes on with what it knew", "error", err)
	}
}

// Register implements discovery.Discovery.
func (v *view) Register(ctx context.Context, endpoint string) (discovery.Lease, error) {
	l := &lease{view: v, endpoint: endpoint, stop: make(chan struct{}), kept: make(chan struct{})}
	if err := l.renew(ctx, true); err != nil {
		return nil, v.explain("taking a lease at", err)
	}
	v.running.Go(l.keep)
	return l, nil
}

// lease is a registration that is renewed until it is released.
type lease struct {
	view     *view
	endpoint string
	once     sync.Once
	stop     chan struct{} // closed by Release
	kept     chan struct{} // closed when it is renewed no more
}

// renew writes the lease; tell says that others are told, since it may be news.
func (l *lease) renew(ctx context.Context, tell bool) error {
	v := l.view
	_, err := v.client.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.Set(ctx, v.key(l.endpoint), "1", v.o.lease)
		p.SAdd(ctx, v.index(), l.endpoint)
		if tell {
			p.Publish(ctx, v.channel(), l.endpoint)
		}
		return nil
	})
	return err
}

// keep renews the lease, three times in its life.
func (l *lease) keep() {
	defer close(l.kept)
	ticker := time.NewTicker(l.view.o.lease / 3)
	defer ticker.Stop()
	failed := false
	for {
		select {
		case <-ticker.C:
		case <-l.stop:
			return
		case <-l.view.life.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.view.life, timeout)
		err := l.renew(ctx, failed)
		cancel()
		if failed = err != nil; failed {
			l.view.warn(l.view.explain("renewing a lease at", err))
		}
	}
}

// Release implements discovery.Lease.
func (l *lease) Release(ctx context.Context) error {
	l.once.Do(func() { close(l.stop) })
	v := l.view
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select { // a renewal that is under way would come behind
	case <-l.kept:
	case <-ctx.Done():
	}
	_, err := v.client.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.Del(ctx, v.key(l.endpoint))
		p.SRem(ctx, v.index(), l.endpoint)
		p.Publish(ctx, v.channel(), l.endpoint)
		return nil
	})
	if err != nil {
		return v.explain("releasing a lease at", err)
	}
	return nil
}

// list returns the endpoints whose leases hold, and forgets the others.
func (v *view) list(ctx context.Context) ([]string, error) {
	all, err := v.client.SMembers(ctx, v.index()).Result()
	if err != nil {
		return nil, v.explain("asking for nodes at", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	keys := make([]string, len(all))
	for i, endpoint := range all {
		keys[i] = v.key(endpoint)
	}
	held, err := v.client.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, v.explain("asking for leases at", err)
	}
	var endpoints []string
	var dead []any
	for i, value := range held {
		if value != nil {
			endpoints = append(endpoints, all[i])
		} else {
			dead = append(dead, all[i])
		}
	}
	if len(dead) > 0 {
		v.client.SRem(ctx, v.index(), dead...) // whoever lives adds itself with its next renewal
	}
	slices.Sort(endpoints)
	return endpoints, nil
}

// Watch implements discovery.Discovery.
func (v *view) Watch(ctx context.Context, see func([]string)) error {
	// Subscribed first: what changes between the list and the subscription would
	// wait for the next look.
	changes := v.client.Subscribe(ctx, v.channel())
	last, err := v.list(ctx)
	if err != nil {
		_ = changes.Close()
		return err
	}
	see(last)
	v.running.Go(func() {
		defer func() { _ = changes.Close() }()
		v.follow(changes.Channel(), last, see)
	})
	return nil
}

// follow looks when something has changed, and every so often. However many
// changes there are, it looks no more often than every settleTime.
func (v *view) follow(changes <-chan *goredis.Message, last []string, see func([]string)) {
	ticker := time.NewTicker(v.o.poll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-changes:
			settle := time.NewTimer(settleTime)
			select {
			case <-settle.C:
			case <-v.life.Done():
				settle.Stop()
				return
			}
			for len(changes) > 0 {
				<-changes
			}
		case <-v.life.Done():
			return
		}
		ctx, cancel := context.WithTimeout(v.life, timeout)
		now, err := v.list(ctx)
		cancel()
		switch {
		case v.life.Err() != nil:
		case err != nil:
			v.warn(err)
		case !slices.Equal(now, last):
			last = now
			see(now)
		}
	}
}

// Close implements discovery.Discovery.
func (v *view) Close(context.Context) error {
	v.end()
	err := v.client.Close()
	v.running.Wait()
	if err != nil && !errors.Is(err, goredis.ErrClosed) {
		return fmt.Errorf("closing the connections to Redis: %w", err)
	}
	return nil
}
