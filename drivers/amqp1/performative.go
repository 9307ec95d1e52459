package amqp1

import (
	"encoding/binary"

	"github.com/Azure/go-amqp"
)

// This file writes and reads the performatives that come with each message, and
// reads those that say where links are: part 2.7 of the specification.

// descriptor says what a list is: one of the specification's types.
type descriptor byte

const (
	performOpen        descriptor = 0x10
	performBegin       descriptor = 0x11
	performAttach      descriptor = 0x12
	performFlow        descriptor = 0x13
	performTransfer    descriptor = 0x14
	performDisposition descriptor = 0x15
	performDetach      descriptor = 0x16
	performEnd         descriptor = 0x17

	typeError descriptor = 0x1d

	stateAccepted descriptor = 0x24
	stateRejected descriptor = 0x25
	stateReleased descriptor = 0x26
	stateModified descriptor = 0x27

	sectionHeader      descriptor = 0x70
	sectionDelivery    descriptor = 0x71 // annotations
	sectionMessage     descriptor = 0x72 // annotations
	sectionProperties  descriptor = 0x73
	sectionApplication descriptor = 0x74 // properties
	sectionData        descriptor = 0x75
	sectionSequence    descriptor = 0x76
	sectionValue       descriptor = 0x77
	sectionFooter      descriptor = 0x78
)

// frameHead is how many bytes come before a body: its size, where it begins, the
// type, the channel.
const frameHead = 8

// beginFrame appends the head of a frame; endFrame fills in its size.
func beginFrame(b []byte, channel uint16) (_ []byte, at int) {
	at = len(b)
	b = append(b, 0, 0, 0, 0, 2, 0)
	return binary.BigEndian.AppendUint16(b, channel), at
}

func endFrame(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at)) //nolint:gosec // as long as the peer takes
	return b
}

// bodyOf returns the body of a frame of AMQP; nil: it is one of SASL, or has none.
func bodyOf(frame []byte) []byte {
	if at := 4 * int(frame[4]); frame[5] == 0 && at >= frameHead && at < len(frame) {
		return frame[at:]
	}
	return nil
}

// performativeOf returns what is in a body; 0: nothing that there is.
func performativeOf(body []byte) descriptor {
	r := reader{rest: body}
	if r.plain().code != codeDescribed {
		return 0
	}
	n, _ := r.plain().number()
	return descriptor(min(n, 255))
}

// parse returns the fields of a performative, and what is behind it.
func parse(body []byte) (f fields, payload []byte, err error) {
	r := reader{rest: body}
	f = r.next().list()
	return f, r.rest, r.err
}

// transfer is a message, or a part of one.
type transfer struct {
	handle        uint32
	id            uint32 // of the delivery
	first         bool   // it says which delivery it is of
	settled       bool
	more, aborted bool
}

// appendTransfer appends a transfer without its payload, for which it begins a
// frame. Each delivery has its number as its tag.
func appendTransfer(b []byte, channel uint16, t transfer) (_ []byte, frame int) {
	b, frame = beginFrame(b, channel)
	b, at := beginList8(b, performTransfer)
	b = appendUint(b, t.handle)
	if t.first {
		b = appendUint(b, t.id)
		b = binary.BigEndian.AppendUint32(append(b, codeBinary8, 4), t.id)
		b = append(b, codeUint0) // the format of the message
	} else {
		b = append(b, codeNull, codeNull, codeNull)
	}
	b = appendBool(appendBool(b, t.settled), t.more)
	return endList8(b, at, 6), frame
}

func parseTransfer(f fields) (t transfer, err error) {
	t.handle = f.next().uint32()
	id := f.next()
	t.first, t.id = !id.null(), id.uint32()
	f.skip(2) // tag, format
	t.settled, t.more = f.next().bool(), f.next().bool()
	f.skip(3) // receiver's settle mode, state, resume
	t.aborted = f.next().bool()
	return t, f.err
}

// flow says what a session may still take and, with a link, what that may.
type flow struct {
	nextIncoming, incomingWindow uint32
	nextOutgoing, outgoingWindow uint32

	link          bool // the following are told
	handle        uint32
	deliveryCount uint32
	counted       bool // deliveryCount is told
	credit        uint32
	drain         bool
	echo          bool // an answer is asked for
}

func appendFlow(b []byte, channel uint16, f flow) []byte {
	b, frame := beginFrame(b, channel)
	b, at := beginList8(b, performFlow)
	b = appendUint(appendUint(b, f.nextIncoming), f.incomingWindow)
	b = appendUint(appendUint(b, f.nextOutgoing), f.outgoingWindow)
	if !f.link {
		return endFrame(endList8(b, at, 4), frame)
	}
	b = appendUint(appendUint(appendUint(b, f.handle), f.deliveryCount), f.credit)
	b = appendBool(append(b, codeNull), f.drain)
	return endFrame(endList8(b, at, 9), frame)
}

func parseFlow(f fields) (w flow, err error) {
	w.nextIncoming, w.incomingWindow = f.next().uint32(), f.next().uint32()
	w.nextOutgoing, w.outgoingWindow = f.next().uint32(), f.next().uint32()
	handle, count := f.next(), f.next()
	w.link, w.handle = !handle.null(), handle.uint32()
	w.counted, w.deliveryCount = !count.null(), count.uint32()
	w.credit = f.next().uint32()
	f.skip(1) // available
	w.drain, w.echo = f.next().bool(), f.next().bool()
	return w, f.err
}

// disposition tells the outcome of deliveries.
type disposition struct {
	receiver    bool // told by who received them
	first, last uint32
	settled     bool
	state       descriptor // 0: none
	failed      bool       // a modified one: it was an attempt
	reason      *amqp.Error
}

func appendDisposition(b []byte, channel uint16, d disposition) []byte {
	b, frame := beginFrame(b, channel)
	b, at := beginList8(b, performDisposition)
	b = appendUint(appendBool(b, d.receiver), d.first)
	if d.last == d.first {
		b = append(b, codeNull)
	} else {
		b = appendUint(b, d.last)
	}
	b = appendBool(b, d.settled)
	if d.state == stateModified {
		var state int
		b, state = beginList8(b, stateModified)
		b = endList8(appendBool(b, d.failed), state, 1)
	} else {
		b = append(appendDescriptor(b, d.state), codeList0)
	}
	return endFrame(endList8(b, at, 5), frame)
}

func parseDisposition(f fields) (d disposition, err error) {
	d.receiver, d.first = f.next().bool(), f.next().uint32()
	d.last = d.first
	if last := f.next(); !last.null() {
		d.last = last.uint32()
	}
	d.settled = f.next().bool()
	state := f.next()
	if d.state = state.descriptor; d.state == stateRejected {
		s := state.list()
		d.reason = errorOf(s.next())
	}
	return d, f.err
}

// errorOf returns what a peer says went wrong; nil: nothing.
func errorOf(v value) *amqp.Error {
	if v.descriptor != typeError {
		return nil
	}
	f := v.list()
	condition, _ := f.next().text()
	description, _ := f.next().text()
	return &amqp.Error{Condition: amqp.ErrCond(condition), Description: string(description)}
}

// attach is what counts here of a link's beginning.
type attach struct {
	name           string
	handle         uint32
	receiver       bool // the one who says so receives
	initialCount   uint32
	maxMessageSize uint64 // 0: none
}

func parseAttach(f fields) (a attach, err error) {
	name, _ := f.next().text()
	a.name, a.handle, a.receiver = string(name), f.next().uint32(), f.next().bool()
	f.skip(6) // settle modes, source, target, unsettled, incomplete unsettled
	a.initialCount = f.next().uint32()
	a.maxMessageSize, _ = f.next().number()
	return a, f.err
}

// begin is what counts here of a session's beginning.
type begin struct {
	answer         bool
	channel        uint16 // of the session that is answered
	nextOutgoing   uint32
	incomingWindow uint32
}

func parseBegin(f fields) (b begin, err error) {
	channel := f.next()
	b.answer, b.channel = !channel.null(), uint16(channel.uint32()) //nolint:gosec // a wrong one is of no session
	b.nextOutgoing, b.incomingWindow = f.next().uint32(), f.next().uint32()
	return b, f.err
}

// parseOpen returns the size of the largest frame that the peer takes.
func parseOpen(f fields) (size uint32, err error) {
	f.skip(2)
	v := f.next()
	if v.null() {
		return 0, f.err
	}
	return v.uint32(), f.err
}

// handleOf returns the first field, which of a detach is the handle.
func handleOf(f fields) uint32 { return f.next().uint32() }

// detachReason returns why the peer ends a link; nil: it does not say.
func detachReason(f fields) *amqp.Error {
	f.skip(2)
	return errorOf(f.next())
}

// endReason returns why the peer ends a session.
func endReason(f fields) *amqp.Error { return errorOf(f.next()) }
