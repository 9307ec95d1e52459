package wire

import (
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
)

// OsloAMQP1Type is the content type by which the format of [OsloAMQP1] is known
// inside a process. It does not travel: such a message has none, and its body is
// a string of AMQP's and not data. A driver sends it so, and gives the type to
// what it receives so.
const OsloAMQP1Type = "application/vnd.patchbay.oslo-amqp1+json"

const requestHead = `{"request": `

// OsloAMQP1 returns the codec of the format that oslo.messaging's amqp1 driver had,
// up to release 14: ids and reply address in the properties of AMQP 1.0, request
// and context in one JSON object, and a heartbeat without a body. Bodies may have
// maxBody bytes; 0 or less is no limit.
//
// Unlike Python's driver it gives each request an id, which Python's ignores, and
// a heartbeat a reply address, which Python's ignores too.
func OsloAMQP1(maxBody int64) messaging.Codec { return osloAMQP1{limit: bound(maxBody)} }

type osloAMQP1 struct{ limit int64 }

func (osloAMQP1) Name() string { return "oslo" }

func (osloAMQP1) Accepts(m *messaging.Message) bool { return m.ContentType == OsloAMQP1Type }

func (osloAMQP1) Encode(e *messaging.Envelope, m *messaging.Message) error {
	m.ID, m.CorrelationID, m.ReplyTo = "", "", ""
	m.ContentType, m.ContentEncoding = OsloAMQP1Type, ""
	m.Headers = m.Headers[:0]
	switch e.Kind {
	case messaging.KindRPC:
		m.ID = e.ID
		if e.CallID != "" {
			m.ID, m.ReplyTo = e.CallID, e.ReplyTo
		}
		m.Body = appendCallAMQP1(m.Body[:0], e)
		return nil
	case messaging.KindReply:
		m.CorrelationID, m.ReplyTo = e.CallID, e.ReplyTo
		m.Body = appendReplyAMQP1(m.Body[:0], e)
		return nil
	case messaging.KindNotify:
		m.ID = e.ID
		return encodeNotificationAMQP1(e, m)
	}
	return fmt.Errorf("encoding a message: unknown %s", e.Kind)
}

func appendCallAMQP1(b []byte, e *messaging.Envelope) []byte {
	b = appendString(append(b, requestHead+`{"method": `...), e.Method)
	b = appendJSON(append(b, `, "args": `...), e.Body, "{}")
	if e.Namespace != "" {
		b = appendString(append(b, `, "namespace": `...), e.Namespace)
	}
	if e.Version != "" {
		b = appendString(append(b, `, "version": `...), e.Version)
	}
	b = appendContextAMQP1(append(b, `}, "context": `...), e)
	if e.CallID != "" && e.Monitor > 0 {
		b = appendSeconds(append(b, `, "call_monitor_timeout": `...), e.Monitor)
	}
	return append(b, '}')
}

func appendContextAMQP1(b []byte, e *messaging.Envelope) []byte {
	b = append(b, '{')
	for i := range e.Context {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendString(b, e.Context[i].Key)
		b = appendJSON(append(b, ": "...), e.Context[i].Value, "null")
	}
	return append(b, '}')
}

// appendReplyAMQP1 appends nothing for a heartbeat.
func appendReplyAMQP1(b []byte, e *messaging.Envelope) []byte {
	switch {
	case !e.Final:
		return b
	case e.Failed:
		b = appendString(append(b, `{"failure": `...), failureOf(e))
	default:
		b = appendJSON(append(b, `{"response": `...), e.Body, "null")
	}
	return append(b, '}')
}

func encodeNotificationAMQP1(e *messaging.Envelope, m *messaging.Message) error {
	inside, err := members(e.Body)
	if err != nil {
		return err
	}
	b := append(m.Body[:0], requestHead...)
	if !e.Bare {
		b = append(b, osloHead...)
	}
	start := len(b)
	b = append(appendJSON(append(b, '{'), inside, ""), '}')
	if !e.Bare {
		b = append(quoteInPlace(b, start), osloTail...)
	}
	b = appendContextAMQP1(append(b, `, "context": `...), e)
	m.Body = append(b, '}')
	return nil
}

func (o osloAMQP1) Decode(m *messaging.Message, e *messaging.Envelope) error {
	*e = messaging.Envelope{Kind: e.Kind, ID: m.ID}
	if int64(len(m.Body)) > o.limit {
		return undecodable("%d bytes, the limit is %d", len(m.Body), o.limit)
	}
	if err := checkUTF8(m.Body); err != nil {
		return err
	}
	switch e.Kind {
	case messaging.KindRPC:
		return decodeCallAMQP1(m, e)
	case messaging.KindReply:
		return decodeReplyAMQP1(m, e)
	case messaging.KindNotify:
		return decodeNotificationAMQP1(m, e)
	}
	return undecodable("unknown %s", e.Kind)
}

// openAMQP1 returns the text of the request, and reads what is beside it.
func openAMQP1(body []byte, a *arena, e *messaging.Envelope) (request []byte, enveloped bool, err error) {
	s := scanner{data: body}
	for s.next() {
		switch string(s.key) {
		case "request":
			request = s.value
		case "context":
			if err := decodeContextAMQP1(s.value, a, e); err != nil {
				return nil, false, err
			}
		case "call_monitor_timeout":
			e.Monitor = seconds(s.value)
		}
	}
	switch {
	case s.err() != nil:
		return nil, false, s.err()
	case len(request) == 0 || request[0] != '{':
		return nil, false, undecodable("there is no request in it")
	}
	return open(request)
}

func decodeContextAMQP1(value []byte, a *arena, e *messaging.Envelope) error {
	if value[0] != '{' { // Python's null
		return nil
	}
	s := scanner{data: value}
	for s.next() {
		if err := addContext(e, a, s.key, s.value); err != nil {
			return err
		}
	}
	return s.err()
}

func decodeCallAMQP1(m *messaging.Message, e *messaging.Envelope) error {
	var a arena
	request, _, err := openAMQP1(m.Body, &a, e)
	if err != nil {
		return err
	}
	s := scanner{data: request}
	for s.next() {
		switch string(s.key) {
		case "method":
			e.Method = a.add(text(s.value))
		case "args":
			e.Body = s.value
		case "namespace":
			e.Namespace = a.add(text(s.value))
		case "version":
			e.Version = a.add(text(s.value))
			if s.value[0] == 'n' {
				e.Version = nullVersion
			}
		}
	}
	if err := s.err(); err != nil {
		return err
	}
	if m.ReplyTo != "" {
		e.CallID, e.ReplyTo = m.ID, m.ReplyTo
	}
	return finishRequest(e)
}

func decodeReplyAMQP1(m *messaging.Message, e *messaging.Envelope) error {
	e.ID, e.CallID, e.ReplyTo = "", m.CorrelationID, m.ReplyTo
	if len(m.Body) == 0 {
		return finishReply(e)
	}
	e.Final = true
	s := scanner{data: m.Body}
	var failure []byte
	for s.next() {
		switch string(s.key) {
		case "response":
			e.Body = s.value
		case "failure":
			failure = s.value
		}
	}
	if err := s.err(); err != nil {
		return err
	}
	if len(text(failure)) > 0 {
		e.Failed, e.Body = true, failureBody(failure)
	}
	return finishReply(e)
}

func decodeNotificationAMQP1(m *messaging.Message, e *messaging.Envelope) error {
	var a arena
	request, enveloped, err := openAMQP1(m.Body, &a, e)
	if err != nil {
		return err
	}
	e.Bare, e.Monitor = !enveloped, 0
	id, context := e.ID, e.Context
	if err := decodeNotification(request, e); err != nil {
		return err
	}
	if e.ID == "" {
		e.ID = id
	}
	if len(e.Context) == 0 {
		e.Context = context
	}
	return checkIDs(e)
}
