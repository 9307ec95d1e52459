// Package gossip lets nodes of the zmq driver find each other without a store:
// each tells some others, and they tell more (hashicorp/memberlist, SWIM).
//
//	messaging.Registry{"zmq": zmq.Opener(gossip.Backend())}
//	zmq://10.0.0.1:7946,10.0.0.2:7946/?discovery=gossip&gossip_bind=0.0.0.0:7946&gossip_secret=…&bind=0.0.0.0:9501
//
// The hosts of the URL are seeds: any node that is there when another one starts.
// Each node needs a UDP and a TCP port of the same number for gossip, beside that
// of its links. What is gossiped is the endpoint alone; where a node listens is
// asked over the link to it.
package gossip

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/patchbay-go/patchbay/drivers/zmq/discovery"
	"github.com/patchbay-go/patchbay/messaging"
)

// Backend returns the backend that ?discovery=gossip chooses.
func Backend() discovery.Backend {
	return discovery.Backend{Name: "gossip", Configure: configure}
}

// options are the URL's.
type options struct {
	cluster   string
	bind      hostPort
	advertise hostPort
	secret    []byte
}

type hostPort struct {
	host string
	port int
}

const (
	defaultPort = 7946
	joinTime    = 2 * time.Second  // for a seed to answer
	leaveTime   = time.Second      // for the news that we leave to be told on
	updateTime  = time.Millisecond // nobody waits for news of our endpoint to be told on: it is
	rejoinTime  = 2 * time.Second  // between attempts to find the seeds, while we are alone
	tidyTime    = 10 * time.Second // between such attempts otherwise: two halves of a network find each other again
)

func configure(_ *messaging.URL, r *messaging.OptionReader) discovery.Connector {
	o := &options{
		cluster:   r.String("discovery_cluster", ""),
		bind:      readHostPort(r, "gossip_bind", hostPort{"0.0.0.0", defaultPort}),
		advertise: readHostPort(r, "gossip_advertise", hostPort{}),
	}
	if text := r.String("gossip_secret", ""); text != "" {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !slices.Contains([]int{16, 24, 32}, len(key)) {
			r.Reject("gossip_secret", "must be 16, 24 or 32 bytes in base64")
		}
		o.secret = key
	}
	if a, err := netip.ParseAddr(o.bind.host); (err != nil || !a.IsLoopback()) && o.secret == nil && !r.Bool("insecure", false) {
		r.Reject("gossip_secret", "is needed where strangers can reach gossip_bind, unless insecure=true: they could send the nodes anywhere")
	}
	return o.connect
}

func readHostPort(r *messaging.OptionReader, name string, def hostPort) hostPort {
	text := r.String(name, "")
	if text == "" {
		return def
	}
	host, port, err := net.SplitHostPort(text)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil {
		r.Reject(name, "must be host:port")
	}
	return hostPort{host, int(n)}
}

// connect joins the others.
func (o *options) connect(_ context.Context, c discovery.Config) (discovery.Discovery, error) {
	v := &view{name: rand.Text(), changed: make(chan struct{}, 1), stop: make(chan struct{}), members: map[string]string{}}
	for _, h := range c.Hosts {
		if h.Host != "" {
			v.seeds = append(v.seeds, net.JoinHostPort(h.Host, strconv.Itoa(cmp.Or(h.Port, defaultPort))))
		}
	}
	config := memberlist.DefaultLANConfig()
	config.Name = v.name
	config.Label = o.cluster
	config.BindAddr, config.BindPort = o.bind.host, o.bind.port
	config.AdvertiseAddr, config.AdvertisePort = o.advertise.host, cmp.Or(o.advertise.port, o.bind.port)
	config.SecretKey = o.secret
	config.Delegate, config.Events, config.Merge = (*delegate)(v), (*events)(v), (*merges)(v)
	config.TCPTimeout = joinTime
	config.LogOutput = logWriter{c.Logger}
	list, err := memberlist.Create(config)
	if err != nil {
		return nil, fmt.Errorf("starting to gossip: %w", err)
	}
	v.list = list
	return v, nil
}

// view implements discovery.Discovery.
type view struct {
	name    string // ours, among the members
	list    *memberlist.Memberlist
	seeds   []string
	changed chan struct{} // holds a token when members have changed
	asSeen  atomic.Value  // a string: the endpoint with which one who was asked named us

	once    sync.Once
	stop    chan struct{} // closed by Close
	running sync.WaitGroup

	mu       sync.Mutex        // protects the following
	endpoint string            // ours; empty: we do not listen
	members  map[string]string // name of a node that listens to its endpoint
}

// Register implements discovery.Discovery.
func (v *view) Register(ctx context.Context, endpoint string) (discovery.Lease, error) {
	if len(endpoint) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("%w: an endpoint of %d bytes, %d can be gossiped", messaging.ErrPermanent, len(endpoint), memberlist.MetaMaxSize)
	}
	v.say(endpoint)
	for _, seed := range v.seeds {
		if err := v.tell(ctx, seed, endpoint); err != nil {
			v.say("")
			return nil, err
		}
	}
	return (*lease)(v), nil
}

// tell asks a seed that lives who is there until it names us with our endpoint, so
// that who joins by it from then on knows of us at once: a seed answers before it
// takes in what it has been told. One that does not for joinTime hears of it.
func (v *view) tell(ctx context.Context, seed, endpoint string) error {
	began := time.Now()
	for pause := time.Millisecond; ; pause *= 2 {
		v.asSeen.Store("")
		_, err := v.list.Join([]string{seed})
		if err != nil || v.asSeen.Load() == endpoint || time.Since(began)+pause > joinTime {
			return nil //nolint:nilerr // a seed that does not answer is usual, as for the first node
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("telling the seed %s of %s: %w", seed, endpoint, context.Cause(ctx))
		}
	}
}

// say changes what others are told of us. That some did not answer in time does
// not matter: they will hear of it.
func (v *view) say(endpoint string) {
	v.mu.Lock()
	v.endpoint = endpoint
	v.mu.Unlock()
	_ = v.list.UpdateNode(updateTime)
}

type lease view

// Release implements discovery.Lease.
func (l *lease) Release(context.Context) error {
	(*view)(l).say("")
	return nil
}

// Watch implements discovery.Discovery.
func (v *view) Watch(_ context.Context, see func([]string)) error {
	v.join()
	last := v.endpoints()
	see(last)
	v.running.Go(func() { v.follow(last, see) })
	v.running.Go(v.rejoin)
	return nil
}

// join asks the seeds who is there. That none answers is usual for the first node.
func (v *view) join() {
	if len(v.seeds) > 0 {
		_, _ = v.list.Join(v.seeds)
	}
}

// rejoin asks the seeds again, often while we are alone.
func (v *view) rejoin() {
	for {
		wait := tidyTime
		if v.list.NumMembers() < 2 {
			wait = rejoinTime
		}
		timer := time.NewTimer(wait/2 + mathrand.N(wait/2)) //nolint:gosec // jitter
		select {
		case <-timer.C:
		case <-v.stop:
			timer.Stop()
			return
		}
		v.join()
	}
}

// follow tells of changes. Many that come at once are one.
func (v *view) follow(last []string, see func([]string)) {
	for {
		select {
		case <-v.changed:
		case <-v.stop:
			return
		}
		if now := v.endpoints(); !slices.Equal(now, last) {
			last = now
			see(now)
		}
	}
}

// endpoints returns those of all members that listen.
func (v *view) endpoints() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Compact(slices.Sorted(maps.Values(v.members)))
}

// Close implements discovery.Discovery.
func (v *view) Close(context.Context) error {
	v.once.Do(func() { close(v.stop) })
	v.running.Wait()
	_ = v.list.Leave(leaveTime) // who did not hear of it notices
	if err := v.list.Shutdown(); err != nil {
		return fmt.Errorf("ending to gossip: %w", err)
	}
	return nil
}

// delegate is what memberlist asks of us.
type delegate view

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return []byte(d.endpoint)
}

// NotifyMsg implements memberlist.Delegate.
func (*delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (*delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*delegate) MergeRemoteState([]byte, bool) {}

// events is told of members, under the lock under which they change: its List has
// pointers to what changes under who reads them.
type events view

func (e *events) note(n *memberlist.Node, here bool) {
	e.mu.Lock()
	if here && len(n.Meta) > 0 {
		e.members[n.Name] = string(n.Meta)
	} else {
		delete(e.members, n.Name)
	}
	e.mu.Unlock()
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// NotifyJoin implements memberlist.EventDelegate.
func (e *events) NotifyJoin(n *memberlist.Node) { e.note(n, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (e *events) NotifyLeave(n *memberlist.Node) { e.note(n, false) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e *events) NotifyUpdate(n *memberlist.Node) { e.note(n, true) }

// merges is told what one whom we join knows. It is told of one who joins us, too,
// which can end tell before its time only if that one has heard of us by itself.
type merges view

// NotifyMerge implements memberlist.MergeDelegate.
func (m *merges) NotifyMerge(peers []*memberlist.Node) error {
	for _, n := range peers {
		if n.Name == m.name {
			m.asSeen.Store(string(n.Meta))
		}
	}
	return nil
}

// logWriter takes memberlist's lines: none is more than a detail here, since links
// tell who lives.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug("patchbay: gossip", "says", strings.TrimSpace(string(line)))
	return len(line), nil
}
