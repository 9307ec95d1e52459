package wire

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

const (
	osloType    = "application/json"
	osloVersion = "2.0"
	osloHead    = `{"oslo.version": "` + osloVersion + `", "oslo.message": "`
	osloTail    = `"}`

	contextPrefix = "_context_"

	// nullVersion is what a null version is decoded to: Python's word, which no
	// endpoint supports and which oslo.messaging's error for it names.
	nullVersion = "None"
)

// Oslo returns the codec of oslo.messaging's format: envelope version 2.0,
// JSON inside JSON. Decoding also accepts bodies of version 1, without the
// envelope, and compressed ones, which may have maxBody bytes when
// decompressed; 0 or less is no limit.
func Oslo(maxBody int64) messaging.Codec { return oslo{limit: bound(maxBody)} }

type oslo struct{ limit int64 }

func (oslo) Name() string { return "oslo" }

func (oslo) Accepts(m *messaging.Message) bool { return isType(m.ContentType, osloType) }

func (oslo) Encode(e *messaging.Envelope, m *messaging.Message) error {
	m.ID, m.CorrelationID, m.ReplyTo = "", "", ""
	m.ContentType, m.ContentEncoding = osloType, "utf-8"
	m.Headers = m.Headers[:0]
	if e.Kind == messaging.KindNotify && e.Bare {
		b, err := appendInner(m.Body[:0], e)
		m.Body = b
		return err
	}
	b, err := appendInner(append(m.Body[:0], osloHead...), e)
	m.Body = append(quoteInPlace(b, len(osloHead)), osloTail...)
	return err
}

// appendInner appends the inner object, which is printable ASCII.
func appendInner(b []byte, e *messaging.Envelope) ([]byte, error) {
	switch e.Kind {
	case messaging.KindRPC:
		return appendRequest(b, e), nil
	case messaging.KindReply:
		return appendReply(b, e), nil
	case messaging.KindNotify:
		return appendNotification(b, e)
	}
	return b, fmt.Errorf("encoding a message: unknown %s", e.Kind)
}

func appendRequest(b []byte, e *messaging.Envelope) []byte {
	b = appendString(append(b, `{"method": `...), e.Method)
	b = appendJSON(append(b, `, "args": `...), e.Body, "{}")
	if e.Namespace != "" {
		b = appendString(append(b, `, "namespace": `...), e.Namespace)
	}
	if e.Version != "" {
		b = appendString(append(b, `, "version": `...), e.Version)
	}
	if e.CallID != "" {
		b = appendString(append(b, `, "_msg_id": `...), e.CallID)
		b = appendString(append(b, `, "_reply_q": `...), e.ReplyTo)
		b = append(b, `, "_timeout": `...)
		if e.Monitor > 0 {
			b = appendSeconds(b, e.Monitor)
		} else {
			b = append(b, "null"...)
		}
	}
	return appendLast(append(b, ", "...), e)
}

func appendReply(b []byte, e *messaging.Envelope) []byte {
	if e.Failed {
		b = append(b, `{"result": null, "failure": `...)
		b = appendString(b, failureOf(e))
	} else {
		b = appendJSON(append(b, `{"result": `...), e.Body, "null")
		b = append(b, `, "failure": null`...)
	}
	b = strconv.AppendBool(append(b, `, "ending": `...), e.Final)
	b = appendString(append(b, `, "_msg_id": `...), e.CallID)
	if e.ReplyTo != "" { // of a heartbeat: where to say that nobody waits; not in oslo.messaging, which ignores it
		b = appendString(append(b, `, "_reply_q": `...), e.ReplyTo)
	}
	b = appendString(append(b, `, "_unique_id": `...), e.ID)
	return append(b, '}')
}

// failureOf returns the failure of a reply. It is never empty, which Python would
// take for success.
func failureOf(e *messaging.Envelope) []byte {
	if len(e.Body) == 0 {
		return []byte("{}")
	}
	return e.Body
}

func appendNotification(b []byte, e *messaging.Envelope) ([]byte, error) {
	inside, err := members(e.Body)
	if err != nil {
		return b, err
	}
	b = append(b, '{')
	if len(inside) > 0 {
		b = append(appendJSON(b, inside, ""), ", "...)
	}
	return appendLast(b, e), nil
}

// appendLast appends what requests and notifications end with: the id and the
// context.
func appendLast(b []byte, e *messaging.Envelope) []byte {
	b = appendString(append(b, `"_unique_id": `...), e.ID)
	for i := range e.Context {
		b = append(b, `, "`+contextPrefix...)
		b = appendEscaped(b, e.Context[i].Key)
		b = appendJSON(append(b, `": `...), e.Context[i].Value, "null")
	}
	return append(b, '}')
}

func (o oslo) Decode(m *messaging.Message, e *messaging.Envelope) error {
	*e = messaging.Envelope{Kind: e.Kind}
	body, err := decompress(m, o.limit)
	if err != nil {
		return err
	}
	if err := checkUTF8(body); err != nil {
		return err
	}
	inner, enveloped, err := open(body)
	if err != nil {
		return err
	}
	switch e.Kind {
	case messaging.KindRPC:
		return decodeRequest(inner, e)
	case messaging.KindReply:
		return decodeReply(inner, e)
	case messaging.KindNotify:
		e.Bare = !enveloped
		if err := decodeNotification(inner, e); err != nil {
			return err
		}
		return checkIDs(e)
	}
	return undecodable("unknown %s", e.Kind)
}

// open returns the text of the inner object: body itself, when that has no
// envelope.
func open(body []byte) (inner []byte, enveloped bool, err error) {
	if inner, ok := openUsual(body); ok {
		return inner, true, nil
	}
	s := scanner{data: body}
	var version, message []byte
	for s.next() {
		switch string(s.key) {
		case "oslo.version":
			version = s.value
		case "oslo.message":
			message = s.value
		}
	}
	switch {
	case s.err() != nil:
		return nil, false, s.err()
	case version == nil || message == nil:
		return body, false, nil
	case !isEnvelopeVersion(version):
		return nil, false, undecodable("the version of the envelope is not " + osloVersion)
	case message[0] != '"':
		return nil, false, undecodable("the message in the envelope is not a string")
	}
	message = message[1 : len(message)-1]
	return appendUnquoted(make([]byte, 0, len(message)), message), true, nil
}

// openUsual is open for an envelope that looks like ours and Python's, in one
// pass. It leaves all others, and what is wrong with them, to open.
func openUsual(body []byte) (inner []byte, ok bool) {
	body, head := bytes.CutPrefix(body, []byte(osloHead))
	body, tail := bytes.CutSuffix(body, []byte(osloTail))
	if !head || !tail {
		return nil, false
	}
	inner = make([]byte, len(body))
	n := 0
	for i := 0; i < len(body); i++ {
		c := body[i]
		if special[c] {
			// Most often a quote of the inner object. What comes in its strings
			// is escaped there too, so other escapes are rare here.
			if i++; c != '\\' || i == len(body) || body[i] != '"' && body[i] != '\\' {
				return nil, false
			}
			c = body[i]
		}
		inner[n] = c
		n++
	}
	return inner[:n], true
}

// isEnvelopeVersion tells whether version 2.0 can read it. By oslo.messaging's
// rule for versions a third number must be 0.
func isEnvelopeVersion(value []byte) bool {
	v := string(text(value))
	return value[0] == '"' && (v == osloVersion || v == osloVersion+".0")
}

func decodeRequest(inner []byte, e *messaging.Envelope) error {
	s := scanner{data: inner}
	var a arena
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
		case "_msg_id":
			e.CallID = string(text(s.value))
		case "_reply_q":
			e.ReplyTo = string(text(s.value))
		case "_timeout":
			e.Monitor = seconds(s.value)
		default:
			if err := decodeLast(&s, &a, e); err != nil {
				return err
			}
		}
	}
	if err := s.err(); err != nil {
		return err
	}
	return finishRequest(e)
}

// decodeLast reads a member that requests and notifications share.
func decodeLast(s *scanner, a *arena, e *messaging.Envelope) error {
	if string(s.key) == "_unique_id" {
		e.ID = string(text(s.value))
		return nil
	}
	if key, ok := bytes.CutPrefix(s.key, []byte(contextPrefix)); ok {
		return addContext(e, a, key, s.value)
	}
	return nil
}

// seconds returns a monitor's time; what is no number, or cannot be a
// duration, means no monitor.
func seconds(value []byte) time.Duration {
	if c := value[0]; c < '0' || '9' < c {
		return 0
	}
	f, err := strconv.ParseFloat(string(value), 64)
	ns := math.Round(f * float64(time.Second))
	if err != nil || ns >= math.MaxInt64 {
		return 0
	}
	return time.Duration(ns)
}

func decodeReply(inner []byte, e *messaging.Envelope) error {
	s := scanner{data: inner}
	var failure []byte
	for s.next() {
		switch string(s.key) {
		case "result":
			e.Body = s.value
		case "failure":
			failure = s.value
		case "ending":
			e.Final = string(s.value) == "true"
		case "_reply_q":
			e.ReplyTo = string(text(s.value))
		case "_msg_id":
			e.CallID = string(text(s.value))
		case "_unique_id":
			e.ID = string(text(s.value))
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

// failureBody returns the failure object from the string that holds it. What is
// no such string is returned as it is, so that the caller learns of a failure
// even then.
func failureBody(value []byte) []byte {
	s := scanner{data: text(value)}
	if body := s.single(); s.err() == nil {
		return body
	}
	return value
}

// decodeNotification leaves the notification's own members in e.Body.
func decodeNotification(inner []byte, e *messaging.Envelope) error {
	s := scanner{data: inner}
	var a arena
	e.Body = append(make([]byte, 0, len(inner)), '{')
	for s.next() {
		if string(s.key) == "_unique_id" || bytes.HasPrefix(s.key, []byte(contextPrefix)) {
			if err := decodeLast(&s, &a, e); err != nil {
				return err
			}
			continue
		}
		if len(e.Body) > 1 {
			e.Body = append(e.Body, ", "...)
		}
		e.Body = append(e.Body, s.member...)
	}
	e.Body = append(e.Body, '}')
	return s.err()
}
