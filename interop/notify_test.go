package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// heard is a notification as listeners of both languages got it.
type heard struct {
	priority, publisher, eventType string
	payload, context               string // JSON text
	messageID, timestamp           string
	size                           int // of its batch
}

// audience is a listener in either language.
type audience interface {
	// await returns what was heard when it is n notifications.
	await(t *testing.T, n int) []heard
	stop(t *testing.T)
}

// publishing is a notification to publish, in words that both languages understand.
type publishing struct {
	priority, publisher, event, payload string // payload is JSON text
	context                             map[string]any
	topics                              []string
	v1                                  bool
	count                               int // with more than one, each payload gets its number as n
}

// publisher publishes, in the manner of its language.
type publisher interface {
	publish(t *testing.T, p publishing)
}

// listening is what a listener wants.
type listening struct {
	exchanges    []string // of a Go listener; by default the transport's
	topics       []string
	priorities   []notify.Priority // all when empty
	pool         string
	requeue      bool // each the first time
	batchSize    int
	batchTimeout time.Duration
}

func (l listening) withDefaults() listening {
	if len(l.topics) == 0 {
		l.topics = []string{notify.DefaultTopic}
	}
	if len(l.exchanges) == 0 {
		l.exchanges = []string{""}
	}
	if len(l.priorities) == 0 {
		l.priorities = notify.Priorities()
	}
	return l
}

// pyAudience is a Python listener.
type pyAudience struct{ *pyServer }

func (p *peer) hear(t *testing.T, url string, l listening) audience {
	t.Helper()
	l = l.withDefaults()
	var priorities []string
	for _, p := range l.priorities {
		priorities = append(priorities, string(p))
	}
	return pyAudience{p.listen(t, command{
		URL: url, Topics: l.topics, Priorities: priorities, Pool: l.pool, Requeue: l.requeue, AllowRequeue: l.requeue,
		BatchSize: l.batchSize, BatchTimeout: l.batchTimeout.Seconds(),
	})}
}

func (a pyAudience) await(t *testing.T, n int) []heard {
	t.Helper()
	var all []heard
	for _, e := range a.peer.awaitN(t, n, "notified", a.told("notified", "")) {
		if e.Context != "{}" { // what the library itself adds
			var values map[string]json.RawMessage
			if err := json.Unmarshal([]byte(e.Context), &values); err != nil {
				t.Fatal(err)
			}
			delete(values, "client_timeout")
			kept, _ := json.Marshal(values) // what was JSON is again
			e.Context = text(kept)
		}
		all = append(all, heard{e.Priority, e.Publisher, e.EventType, string(e.Args), string(e.Context), e.MessageID, e.Timestamp, e.Size})
	}
	return all
}

// goAudience is a Go listener.
type goAudience struct {
	listener *notify.Listener

	mu   sync.Mutex
	all  []heard
	more chan struct{}
}

func listenInGo(t *testing.T, url string, l listening) audience {
	t.Helper()
	l = l.withDefaults()
	a := &goAudience{more: make(chan struct{})}
	ep := &notify.Endpoint{}
	seen := map[string]bool{}
	for _, p := range l.priorities {
		notify.HandleBatch(ep, p, func(_ context.Context, ns []*notify.Notification) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			var err error
			for _, n := range ns {
				values := map[string]json.RawMessage{}
				for _, e := range n.Context {
					values[e.Key] = e.Value
				}
				text, _ := json.Marshal(values) // what was JSON is again
				a.all = append(a.all, heard{string(n.Priority), n.PublisherID, n.EventType, string(n.Payload), string(text), n.MessageID, n.Timestamp, len(ns)})
				if l.requeue && !seen[n.MessageID] {
					seen[n.MessageID] = true
					err = notify.ErrRequeue
				}
			}
			close(a.more)
			a.more = make(chan struct{})
			return err
		})
	}
	var targets []messaging.Target
	for _, exchange := range l.exchanges {
		for _, topic := range l.topics {
			targets = append(targets, messaging.Target{Exchange: exchange, Topic: topic})
		}
	}
	var err error
	a.listener, err = notify.NewListener(open(t, url), targets, []*notify.Endpoint{ep}, &notify.ListenerOptions{
		Pool: l.pool, AllowRequeue: l.requeue, RequeueDelay: time.Millisecond, BatchSize: l.batchSize, BatchTimeout: l.batchTimeout,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		err = a.listener.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.stop(t) })
	return a
}

func (a *goAudience) await(t *testing.T, n int) []heard {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		a.mu.Lock()
		all, more := slices.Clone(a.all), a.more
		a.mu.Unlock()
		if len(all) >= n {
			return all
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("%d notifications came, want %d", len(all), n)
		}
	}
}

func (a *goAudience) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := a.listener.Wait(ctx); err != nil {
		t.Error(err)
	}
}

// pyPublisher publishes with oslo.messaging.
type pyPublisher struct {
	*peer
	url string
}

func (n pyPublisher) publish(t *testing.T, p publishing) {
	t.Helper()
	c := command{
		Do: "notify", URL: n.url, Publisher: p.publisher, Priority: p.priority, Event: p.event, Payload: p.payload, V1: p.v1, Count: max(p.count, 1),
		Topics: p.topics,
	}
	if len(c.Topics) == 0 {
		c.Topics = []string{notify.DefaultTopic}
	}
	if p.context != nil {
		text, err := json.Marshal(p.context)
		if err != nil {
			t.Fatal(err)
		}
		c.Context = string(text)
	}
	n.must(t, c)
}

// goPublisher publishes with this module.
type goPublisher struct{ transport *messaging.Transport }

func (g goPublisher) publish(t *testing.T, p publishing) {
	t.Helper()
	ctx := t.Context()
	for key, value := range p.context {
		ctx = rpc.NewContext(ctx, key, value) //nolint:fatcontext // a few entries
	}
	o := &notify.MessagingOptions{Topics: p.topics}
	if p.v1 {
		o.Format = notify.V1
	}
	n := notify.NewNotifier(p.publisher, []notify.Driver{notify.Messaging(g.transport, o)}, nil)
	for i := range max(p.count, 1) {
		payload := json.RawMessage(p.payload)
		if p.count > 1 {
			payload = json.RawMessage(fmt.Sprintf(`{"n": %d}`, i))
		}
		if err := n.Notify(ctx, notify.Priority(p.priority), p.event, payload); err != nil {
			t.Fatal(err)
		}
	}
}

// exchange is a publisher and a way to listen that the same tests run on.
type exchange struct {
	name   string
	url    string
	out    publisher
	listen func(t *testing.T, url string, l listening) audience
}

// startExchanges returns all pairs of languages, each on a virtual host of its own.
func startExchanges(t *testing.T) []exchange {
	t.Helper()
	p := sharedPeer(t)
	var all []exchange
	for _, from := range []string{"python", "go"} {
		for _, to := range []string{"python", "go"} {
			e := exchange{name: from + " to " + to, url: vhost(t), listen: listenInGo}
			if to == "python" {
				e.listen = p.hear
			}
			if from == "python" {
				e.out = pyPublisher{p, e.url}
			} else {
				e.out = goPublisher{open(t, e.url)}
			}
			all = append(all, e)
		}
	}
	return all
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	const payload = `{"id": "v-1", "size": 9007199254740993, "text": "h\u00e9llo \u4e16\u754c \"}", "nested": [null, {"a": [1.5, true]}], "empty": {}}`
	context := map[string]any{"user_id": "u1", "request_id": "req-1", "is_admin": false, "project_id": nil, "roles": []string{"reader", "é"}}
	for _, e := range startExchanges(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			a := e.listen(t, e.url, listening{})
			n := 0
			for _, v1 := range []bool{false, true} {
				for _, p := range notify.Priorities() {
					e.out.publish(t, publishing{priority: string(p), publisher: "volume.host1", event: "volume.create.end", payload: payload, context: context, v1: v1})
					n++
					got := a.await(t, n)[n-1]
					if got.priority != string(p) || got.publisher != "volume.host1" || got.eventType != "volume.create.end" {
						t.Errorf("%s, v1 %v: got %+v", p, v1, got)
					}
					if d := cmp.Diff(decode(t, payload), decode(t, got.payload)); d != "" {
						t.Errorf("%s, v1 %v: payload (-want +got):\n%s", p, v1, d)
					}
					text, _ := json.Marshal(context)
					if d := cmp.Diff(decode(t, string(text)), decode(t, got.context)); d != "" {
						t.Errorf("%s, v1 %v: context (-want +got):\n%s", p, v1, d)
					}
					at, err := (&notify.Notification{Timestamp: got.timestamp}).Time()
					if err != nil || time.Since(at).Abs() > time.Minute || len(got.messageID) != 36 {
						t.Errorf("%s, v1 %v: message %q at %q, %v", p, v1, got.messageID, got.timestamp, err)
					}
				}
			}
		})
	}
}

// TestNotificationsWait: what nobody listened to is there for who comes, and who
// listens to some priorities leaves the others.
func TestNotificationsWait(t *testing.T) {
	t.Parallel()
	for _, e := range startExchanges(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range []string{"info", "error", "audit"} {
				e.out.publish(t, publishing{priority: p, event: p, payload: "{}", topics: []string{"notifications", "versioned"}})
			}
			alarms := e.listen(t, e.url, listening{priorities: []notify.Priority{notify.Error, notify.Critical}})
			if got := alarms.await(t, 1); len(got) != 1 || got[0].eventType != "error" {
				t.Errorf("alarms %+v", got)
			}
			rest := e.listen(t, e.url, listening{topics: []string{"notifications", "versioned"}})
			var got []string
			for _, h := range rest.await(t, 5) {
				got = append(got, h.eventType)
			}
			slices.Sort(got)
			if d := cmp.Diff([]string{"audit", "audit", "error", "info", "info"}, got); d != "" {
				t.Errorf("the rest (-want +got):\n%s", d)
			}
		})
	}
}

// numbers returns the payloads' numbers, sorted.
func numbers(t *testing.T, all []heard) []int {
	t.Helper()
	var ns []int
	for _, h := range all {
		var p struct{ N int }
		if err := json.Unmarshal([]byte(h.payload), &p); err != nil {
			t.Fatal(err)
		}
		ns = append(ns, p.N)
	}
	slices.Sort(ns)
	return ns
}

func upTo(n int) []int {
	ns := make([]int, n)
	for i := range ns {
		ns[i] = i
	}
	return ns
}

// TestRequeue: what a listener gives back comes again.
func TestRequeue(t *testing.T) {
	t.Parallel()
	for _, e := range startExchanges(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			a := e.listen(t, e.url, listening{requeue: true})
			e.out.publish(t, publishing{priority: "info", event: "e", payload: "{}", count: 5})
			ns := numbers(t, a.await(t, 10))
			if d := cmp.Diff([]int{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}, ns); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestPools: a pool has its own copy, whose members, of both languages, share it;
// and so have the listeners without one.
func TestPools(t *testing.T) {
	t.Parallel()
	for _, e := range startExchanges(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			p := sharedPeer(t)
			members := map[string][]audience{
				"mixed": {p.hear(t, e.url, listening{pool: "mixed"}), listenInGo(t, e.url, listening{pool: "mixed"})},
				"own":   {e.listen(t, e.url, listening{pool: "own"})},
				"none":  {p.hear(t, e.url, listening{}), listenInGo(t, e.url, listening{})},
			}
			const n = 20
			e.out.publish(t, publishing{priority: "info", event: "e", payload: "{}", count: n})
			for name, as := range members {
				all := gather(t, n, as...)
				if d := cmp.Diff(upTo(n), numbers(t, slices.Concat(all...))); d != "" {
					t.Errorf("pool %s (-want +got):\n%s", name, d)
				}
			}
		})
	}
}

// TestBatches: by size, and by time.
func TestBatches(t *testing.T) {
	t.Parallel()
	for _, e := range startExchanges(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			a := e.listen(t, e.url, listening{priorities: []notify.Priority{notify.Sample}, batchSize: 4, batchTimeout: 2 * time.Second})
			e.out.publish(t, publishing{priority: "sample", event: "e", payload: "{}", count: 10})
			got := a.await(t, 10)
			if d := cmp.Diff(upTo(10), numbers(t, got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if got[0].size != 4 || got[9].size > 3 {
				t.Errorf("the first batch has %d and the last %d, want 4 and the rest", got[0].size, got[9].size)
			}
		})
	}
}

// TestListenersShareTheNotifications: of both languages on one queue, also when one
// of them leaves.
func TestListenersShareTheNotifications(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	p := sharedPeer(t)
	py, golang := p.hear(t, url, listening{}), listenInGo(t, url, listening{})
	const n = 20
	out := goPublisher{open(t, url)}
	out.publish(t, publishing{priority: "info", event: "e", payload: "{}", count: n})
	both := gather(t, n, py, golang)
	if d := cmp.Diff(upTo(n), numbers(t, slices.Concat(both...))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(both[0]) == 0 || len(both[1]) == 0 {
		t.Errorf("Python got %d and Go %d, want both to share", len(both[0]), len(both[1]))
	}
	golang.stop(t)
	before := len(py.await(t, 0))
	pyPublisher{p, url}.publish(t, publishing{priority: "info", event: "e", payload: "{}", count: n})
	if d := cmp.Diff(upTo(n), numbers(t, py.await(t, before+n)[before:])); d != "" {
		t.Errorf("the one that is left (-want +got):\n%s", d)
	}
}

// gather waits until audiences heard n in all, and returns what each did.
func gather(t *testing.T, n int, as ...audience) [][]heard {
	t.Helper()
	for begin := time.Now(); ; <-time.After(10 * time.Millisecond) {
		var all [][]heard
		sum := 0
		for _, a := range as {
			all = append(all, a.await(t, 0))
			sum += len(all[len(all)-1])
		}
		if sum >= n {
			return all
		}
		if time.Since(begin) > patience {
			t.Fatalf("%d came, want %d", sum, n)
		}
	}
}
