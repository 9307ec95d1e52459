package messaging

import (
	"errors"
	"sync/atomic"
)

// Stats are a Transport's numbers. Counters only grow; gauges are of the moment.
type Stats struct {
	Conns        int    `json:"conns"`         // open now, for sending and listening; without a broker, the node alone
	Links        int    `json:"links"`         // to and from peers, now; without a broker
	InFlight     int    `json:"in_flight"`     // sends whose outcome is not known yet
	Calls        int    `json:"calls"`         // calls that wait now
	Streams      int    `json:"streams"`       // open now
	Dials        uint64 `json:"dials"`         // attempts to connect
	DialFailures uint64 `json:"dial_failures"` // of them
	ConnsLost    uint64 `json:"conns_lost"`    // connections and links that ended without being closed by us
	PoolWaits    uint64 `json:"pool_waits"`    // sends that had to wait for a connection
	Sent         uint64 `json:"sent"`          // sends that were accepted
	Rejected     uint64 `json:"rejected"`      // sends that the peer refused
	NoRoute      uint64 `json:"no_route"`      // sends that nobody listened to
	NotSent      uint64 `json:"not_sent"`      // sends that were given up
	Unknown      uint64 `json:"unknown"`       // sends whose outcome was lost
	Retries      uint64 `json:"retries"`       // further attempts after "not sent"
	Received     uint64 `json:"received"`      // messages handed to a poller, replies included
	Duplicates   uint64 `json:"duplicates"`    // messages dropped because their id was seen before
	Undecodable  uint64 `json:"undecodable"`   // messages dropped because no codec understands them
	ReplyDropped uint64 `json:"reply_dropped"` // replies that came late, twice, or were never ours
	ReplyRefused uint64 `json:"reply_refused"` // replies of ours whose address was not there
}

// counters are Stats as they are counted.
type counters struct {
	conns, links, inFlight, calls, streams     atomic.Int64
	dials, dialFailures, connsLost, poolWaits  atomic.Uint64
	sent, rejected, noRoute, notSent, unknown  atomic.Uint64
	retries, received, duplicates, undecodable atomic.Uint64
	replyDropped, replyRefused                 atomic.Uint64
}

func (c *counters) snapshot() Stats {
	return Stats{
		Conns:        int(c.conns.Load()),
		Links:        int(c.links.Load()),
		InFlight:     int(c.inFlight.Load()),
		Calls:        int(c.calls.Load()),
		Streams:      int(c.streams.Load()),
		Dials:        c.dials.Load(),
		DialFailures: c.dialFailures.Load(),
		ConnsLost:    c.connsLost.Load(),
		PoolWaits:    c.poolWaits.Load(),
		Sent:         c.sent.Load(),
		Rejected:     c.rejected.Load(),
		NoRoute:      c.noRoute.Load(),
		NotSent:      c.notSent.Load(),
		Unknown:      c.unknown.Load(),
		Retries:      c.retries.Load(),
		Received:     c.received.Load(),
		Duplicates:   c.duplicates.Load(),
		Undecodable:  c.undecodable.Load(),
		ReplyDropped: c.replyDropped.Load(),
		ReplyRefused: c.replyRefused.Load(),
	}
}

// outcome counts how a send ended.
func (c *counters) outcome(err error) {
	switch {
	case err == nil:
		c.sent.Add(1)
	case errors.Is(err, ErrNotSent):
		c.notSent.Add(1)
	case errors.Is(err, ErrNoRoute):
		c.noRoute.Add(1)
	case errors.Is(err, ErrRejected):
		c.rejected.Add(1)
	default:
		c.unknown.Add(1)
	}
}
