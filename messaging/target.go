package messaging

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Target is what an application says about where a message goes, or where a
// server listens. The zero value of a field means "not said".
//
// The words are oslo.messaging's: an Exchange scopes topics (each driver has a
// default), a Topic names a service, Server one instance of it, Namespace and
// Version select an endpoint inside the server and do not take part in routing,
// and Fanout asks for every server of the topic instead of one.
type Target struct {
	Exchange  string
	Topic     string
	Server    string
	Namespace string
	Version   string
	Fanout    bool
}

// Limits on names, in bytes. They are the core's, so that a name that works on
// one transport works on all: AMQP 0-9-1 carries a routing key of 255 bytes at
// most, and drivers add a suffix of up to 55 bytes to a topic.
const (
	MaxName       = 200 // each of Exchange, Topic and Server
	MaxServerName = 254 // Topic and Server together
)

// Validate reports whether the target's names can travel on every transport.
// The error matches ErrInvalidTarget.
func (t Target) Validate() error {
	for _, n := range [...]struct{ what, name string }{
		{"exchange", t.Exchange}, {"topic", t.Topic}, {"server", t.Server},
	} {
		if err := validateName(n.what, n.name); err != nil {
			return err
		}
	}
	switch {
	case t.Topic == "":
		return fmt.Errorf("%w: no topic", ErrInvalidTarget)
	case len(t.Topic)+len(t.Server) > MaxServerName:
		return fmt.Errorf("%w: topic and server have %d bytes together, %d are possible",
			ErrInvalidTarget, len(t.Topic)+len(t.Server), MaxServerName)
	}
	return nil
}

func validateName(what, name string) error {
	switch {
	case len(name) > MaxName:
		return fmt.Errorf("%w: %s has %d bytes, %d are possible", ErrInvalidTarget, what, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %s is not UTF-8", ErrInvalidTarget, what)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%w: %s has a control character", ErrInvalidTarget, what)
	}
	return nil
}

// Address returns where a request for this target is sent: to every server of
// the topic if Fanout, to the one named by Server, else to any of the topic.
func (t Target) Address() Address {
	a := Address{Kind: KindRPC, Exchange: t.Exchange, Topic: t.Topic}
	if t.Fanout {
		a.Fanout = true
	} else {
		a.Server = t.Server
	}
	return a
}

// ListenAddresses returns the three addresses a server of this target listens
// on at once: the topic, the server by name, and the topic's fanout.
func (t Target) ListenAddresses() []Address {
	a := Address{Kind: KindRPC, Exchange: t.Exchange, Topic: t.Topic}
	named, fanout := a, a
	named.Server = t.Server
	fanout.Fanout = true
	return []Address{a, named, fanout}
}

// Kind tells what a message is for, and so how a driver routes it.
type Kind uint8

// The kinds of messages.
const (
	KindRPC    Kind = iota // a request: call, cast or fanout
	KindNotify             // a notification
	KindReply              // a reply, or a heartbeat of a call in progress
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case KindRPC:
		return "rpc"
	case KindNotify:
		return "notify"
	case KindReply:
		return "reply"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Address is what a driver routes. It is made by the core: a driver never sees
// a Target, a namespace or a version.
//
//	KindRPC     Exchange, Topic              one of the topic's servers
//	            Exchange, Topic, Server      that server and no other
//	            Exchange, Topic, Fanout      every server of the topic
//	KindNotify  Exchange, Topic              Topic is "notifications.info", already with its priority
//	KindReply   Direct                       a reply address, as Listener.Address returned it to the caller
//
// Address is comparable and may be the key of a map.
type Address struct {
	Kind     Kind
	Exchange string
	Topic    string
	Server   string
	Fanout   bool
	Direct   string
}

// String returns the address in words, for errors and logs.
func (a Address) String() string {
	if a.Kind == KindReply {
		return fmt.Sprintf("reply address %q", a.Direct)
	}
	var b strings.Builder
	switch {
	case a.Kind == KindNotify:
		fmt.Fprintf(&b, "notifications %q", a.Topic)
	case a.Fanout:
		fmt.Fprintf(&b, "fanout of topic %q", a.Topic)
	case a.Server != "":
		fmt.Fprintf(&b, "server %q of topic %q", a.Server, a.Topic)
	default:
		fmt.Fprintf(&b, "topic %q", a.Topic)
	}
	if a.Exchange != "" {
		fmt.Fprintf(&b, " in exchange %q", a.Exchange)
	}
	return b.String()
}
