package bench

import (
	"context"
	"fmt"
	"sync"
)

// Channels returns goroutines that exchange texts over Go channels as a
// System: the floor of what any messaging in one process costs.
func Channels() System { return &channels{topics: make(map[string][]chan parcel)} }

type channels struct {
	mu     sync.Mutex
	topics map[string][]chan parcel // guarded by mu: one for each server, all the same unless they get copies
}

type parcel struct {
	body  []byte
	reply chan []byte // nil: none is wanted
}

// InMemory implements System.
func (*channels) InMemory(*Spec) bool { return true }

// Serve implements System.
func (c *channels) Serve(_ context.Context, s *Spec, _ int, t *Tally) (Closer, error) {
	in := c.add(s)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case p := <-in:
				t.Add()
				if p.reply != nil {
					p.reply <- p.body
				}
			case <-stop:
				return
			}
		}
	}()
	return CloserFunc(func(context.Context) error {
		close(stop)
		<-done
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.topics, s.Topic)
		return nil
	}), nil
}

func (c *channels) add(s *Spec) chan parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	servers := c.topics[s.Topic]
	in := make(chan parcel, s.InFlight)
	if s.Pattern != Fanout && len(servers) > 0 {
		in = servers[0]
	}
	c.topics[s.Topic] = append(servers, in)
	return in
}

// Dial implements System.
func (c *channels) Dial(_ context.Context, s *Spec) (Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	servers := c.topics[s.Topic]
	if len(servers) == 0 {
		return nil, fmt.Errorf("%w: nobody serves %s", ErrSpec, s.Topic)
	}
	if s.Pattern != Fanout {
		servers = servers[:1]
	}
	free := make(chan chan []byte, s.InFlight)
	for range s.InFlight {
		free <- make(chan []byte, 1)
	}
	return &channelClient{servers: servers, call: s.Pattern == Call, body: make([]byte, s.Size), free: free}, nil
}

type channelClient struct {
	servers []chan parcel
	call    bool
	body    []byte
	free    chan chan []byte // reply channels that nobody waits at
}

// Do implements Client.
func (c *channelClient) Do(context.Context) error {
	p := parcel{body: c.body}
	if c.call {
		p.reply = <-c.free
	}
	for _, s := range c.servers {
		s <- p
	}
	if c.call {
		<-p.reply
		c.free <- p.reply
	}
	return nil
}

// Close implements Client.
func (*channelClient) Close(context.Context) error { return nil }
