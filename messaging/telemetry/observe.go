package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

type (
	transportStats = messaging.Stats
	serverStats    = rpc.ServerStats
)

// number is one field of stats S as an instrument.
type number[S any] struct {
	name, unit, help string
	gauge            bool // it goes up and down
	value            func(*S) uint64
}

func transportNumbers() []number[transportStats] {
	type s = transportStats
	return []number[s]{
		{"patchbay.connections.open", "{connection}", "Open connections, for sending and listening.", true, func(s *s) uint64 { return uint64(s.Conns) }},
		{"patchbay.links.open", "{link}", "Links to and from peers, without a broker.", true, func(s *s) uint64 { return uint64(s.Links) }},
		{"patchbay.connections.lost", "{connection}", "Connections and links that ended without being closed by us.", false, func(s *s) uint64 { return s.ConnsLost }},
		{"patchbay.connections.waits", "{send}", "Sends that had to wait for a connection.", false, func(s *s) uint64 { return s.PoolWaits }},
		{"patchbay.sends.in_flight", "{message}", "Sends whose outcome is not known yet.", true, func(s *s) uint64 { return uint64(s.InFlight) }},
		{"patchbay.sends.retries", "{attempt}", "Further attempts after a message was certainly not sent.", false, func(s *s) uint64 { return s.Retries }},
		{"patchbay.calls.in_flight", "{call}", "Calls that wait for their reply.", true, func(s *s) uint64 { return uint64(s.Calls) }},
		{"patchbay.listeners", "{listener}", "Open listeners, that for replies included.", true, func(s *s) uint64 { return uint64(s.Streams) }},
		{"patchbay.messages.received", "{message}", "Messages handed to a listener, replies included.", false, func(s *s) uint64 { return s.Received }},
		{"patchbay.messages.duplicate", "{message}", "Messages dropped because their id was seen before.", false, func(s *s) uint64 { return s.Duplicates }},
		{"patchbay.messages.undecodable", "{message}", "Messages dropped because no wire format understands them.", false, func(s *s) uint64 { return s.Undecodable }},
		{"patchbay.replies.dropped", "{message}", "Replies that came late, twice, or for no call of ours.", false, func(s *s) uint64 { return s.ReplyDropped }},
		{"patchbay.replies.refused", "{message}", "Replies of ours whose address was not there.", false, func(s *s) uint64 { return s.ReplyRefused }},
	}
}

func serverNumbers() []number[serverStats] {
	type s = serverStats
	return []number[s]{
		{"patchbay.server.requests.in_flight", "{request}", "Requests in hand, waiting for the executor included.", true, func(s *s) uint64 { return uint64(s.Running) }},
		{"patchbay.server.requests.expired", "{request}", "Requests not handled because their caller had given up.", false, func(s *s) uint64 { return s.Expired }},
		{"patchbay.server.panics", "{panic}", "Handlers that panicked.", false, func(s *s) uint64 { return s.Panics }},
		{"patchbay.server.replies.lost", "{message}", "Replies that were not delivered.", false, func(s *s) uint64 { return s.RepliesLost }},
	}
}

// observed is stats S as instruments that are read when metrics are collected.
type observed[S any] struct {
	meter       metric.Meter
	numbers     []number[S]
	instruments []metric.Int64Observable
}

func observe[S any](m metric.Meter, numbers []number[S]) (observed[S], error) {
	o := observed[S]{meter: m, numbers: numbers}
	for _, n := range numbers {
		var i metric.Int64Observable
		var err error
		if n.gauge {
			i, err = m.Int64ObservableUpDownCounter(n.name, metric.WithUnit(n.unit), metric.WithDescription(n.help))
		} else {
			i, err = m.Int64ObservableCounter(n.name, metric.WithUnit(n.unit), metric.WithDescription(n.help))
		}
		if err != nil {
			return o, err
		}
		o.instruments = append(o.instruments, i)
	}
	return o, nil
}

// register reads stats whenever metrics are collected. What has the same
// attributes is added up, by the rule for these instruments.
func (o *observed[S]) register(stats func() S, attrs ...attribute.KeyValue) (metric.Registration, error) {
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	all := make([]metric.Observable, len(o.instruments))
	for i := range o.instruments {
		all[i] = o.instruments[i]
	}
	return o.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		s := stats()
		for i := range o.numbers {
			to.ObserveInt64(o.instruments[i], int64(o.numbers[i].value(&s)), set)
		}
		return nil
	}, all...)
}

// Observe makes the numbers of a transport, its Stats, metrics: connections,
// what is in flight, retries, duplicates, what could not be decoded, replies
// dropped and refused. They are read when metrics are collected and cost
// nothing in between. Transports to the same hosts are added up.
//
// Unregister what it returns when the transport is closed: until then it keeps
// the transport in memory, and the counters in the metrics.
func (t *Telemetry) Observe(transport *messaging.Transport) (metric.Registration, error) {
	attrs := []attribute.KeyValue{semconv.MessagingSystemKey.String(t.system)}
	if hosts := transport.URL().Hosts; len(hosts) == 1 && hosts[0].Hostname != "" {
		attrs = append(attrs, peer(hosts[0].HostPort().String())...)
	}
	reg, err := t.transports.register(transport.Stats, attrs...)
	if err != nil {
		return nil, fmt.Errorf("observing a transport: %w", err)
	}
	return reg, nil
}

// ObserveServer makes what only a server knows metrics: requests in hand, those
// that had expired, panics, replies lost. target is the one that the server was
// made with. It is otherwise as Observe.
func (t *Telemetry) ObserveServer(s *rpc.Server, target messaging.Target) (metric.Registration, error) {
	reg, err := t.servers.register(s.Stats,
		semconv.MessagingSystemKey.String(t.system),
		semconv.MessagingDestinationName(destination(target.Exchange, target.Topic)),
		serverKey.String(target.Server))
	if err != nil {
		return nil, fmt.Errorf("observing a server: %w", err)
	}
	return reg, nil
}
