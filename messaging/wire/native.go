package wire

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

const nativeType = "application/vnd.patchbay.v1+json"

// The headers of the native format. An absent one means the zero value; an
// absent version means 1.0. Of headers with the same name the first counts.
const (
	headerMethod    = "pb-method"
	headerNamespace = "pb-namespace"
	headerVersion   = "pb-version"
	headerTimeout   = "pb-timeout-ms" // what is left of the caller's deadline
	headerMonitor   = "pb-monitor-ms"
	headerContext   = "pb-context"   // a JSON object
	headerFailed    = "pb-failed"    // "true": the body is a failure
	headerHeartbeat = "pb-heartbeat" // "true": the call goes on
)

// Native returns the codec of Patchbay's own format: ids and reply address in
// the message's properties, the rest of the metadata in headers, the payload
// alone in the body. Decoding also accepts compressed bodies, which may have
// maxBody bytes when decompressed; 0 or less is no limit.
func Native(maxBody int64) messaging.Codec { return native{limit: bound(maxBody)} }

type native struct{ limit int64 }

func (native) Name() string { return "native" }

func (native) Accepts(m *messaging.Message) bool { return isType(m.ContentType, nativeType) }

func (native) Encode(e *messaging.Envelope, m *messaging.Message) error {
	m.ID, m.CorrelationID, m.ReplyTo = e.ID, "", ""
	m.ContentType, m.ContentEncoding = nativeType, "utf-8"
	m.Headers = m.Headers[:0]
	m.Body = append(m.Body[:0], e.Body...)
	switch e.Kind {
	case messaging.KindRPC:
		encodeRequest(e, m)
	case messaging.KindReply:
		m.CorrelationID, m.ReplyTo = e.CallID, e.ReplyTo
		addFlag(m, headerFailed, e.Failed)
		addFlag(m, headerHeartbeat, !e.Final)
		if len(m.Body) == 0 {
			m.Body = append(m.Body, "null"...)
		}
	case messaging.KindNotify:
		if _, err := members(e.Body); err != nil {
			return err
		}
		addContextHeader(m, e.Context)
	default:
		return fmt.Errorf("encoding a message: unknown %s", e.Kind)
	}
	return nil
}

func encodeRequest(e *messaging.Envelope, m *messaging.Message) {
	m.CorrelationID, m.ReplyTo = e.CallID, e.ReplyTo
	addText(m, headerMethod, e.Method)
	addText(m, headerNamespace, e.Namespace)
	addText(m, headerVersion, e.Version)
	addMillis(m, headerTimeout, e.Timeout)
	addMillis(m, headerMonitor, e.Monitor)
	addContextHeader(m, e.Context)
	if len(m.Body) == 0 {
		m.Body = append(m.Body, "{}"...)
	}
}

func addText(m *messaging.Message, key, value string) {
	if value != "" {
		m.Headers = append(m.Headers, messaging.Header{Key: key, Value: strings.ToValidUTF8(value, "\ufffd")})
	}
}

func addFlag(m *messaging.Message, key string, on bool) {
	if on {
		addText(m, key, "true")
	}
}

// addMillis rounds up, so that the least time is not none.
func addMillis(m *messaging.Message, key string, d time.Duration) {
	if d > 0 {
		ms := (d-1)/time.Millisecond + 1
		addText(m, key, strconv.FormatInt(int64(ms), 10))
	}
}

func addContextHeader(m *messaging.Message, context []messaging.ContextValue) {
	if len(context) == 0 {
		return
	}
	var room [512]byte
	b := append(room[:0], '{')
	for i, c := range context {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendString(b, c.Key)
		b = appendJSON(append(b, ": "...), c.Value, "null")
	}
	addText(m, headerContext, string(append(b, '}')))
}

func (n native) Decode(m *messaging.Message, e *messaging.Envelope) error {
	*e = messaging.Envelope{Kind: e.Kind, ID: m.ID}
	body, err := decompress(m, n.limit)
	if err != nil {
		return err
	}
	if err := checkUTF8(body); err != nil {
		return err
	}
	if len(body) > 0 {
		s := scanner{data: body}
		e.Body = s.single()
		if err := s.err(); err != nil {
			return err
		}
	}
	switch e.Kind {
	case messaging.KindRPC:
		return decodeNative(m, e)
	case messaging.KindReply:
		e.CallID, e.ReplyTo = m.CorrelationID, m.ReplyTo
		e.Failed = flag(m, headerFailed)
		e.Final = !flag(m, headerHeartbeat)
		return finishReply(e)
	case messaging.KindNotify:
		if len(e.Body) == 0 || e.Body[0] != '{' {
			return undecodable("the body of a notification is not a JSON object")
		}
		if err := checkIDs(e); err != nil {
			return err
		}
		return decodeContext(m, e)
	}
	return undecodable("unknown %s", e.Kind)
}

func decodeNative(m *messaging.Message, e *messaging.Envelope) (err error) {
	e.CallID, e.ReplyTo = m.CorrelationID, m.ReplyTo
	e.Method, _ = m.Header(headerMethod)
	e.Namespace, _ = m.Header(headerNamespace)
	e.Version, _ = m.Header(headerVersion)
	if e.Timeout, err = millis(m, headerTimeout); err != nil {
		return err
	}
	if e.Monitor, err = millis(m, headerMonitor); err != nil {
		return err
	}
	if err := decodeContext(m, e); err != nil {
		return err
	}
	return finishRequest(e)
}

func flag(m *messaging.Message, key string) bool {
	value, _ := m.Header(key)
	return value == "true"
}

func millis(m *messaging.Message, key string) (time.Duration, error) {
	value, ok := m.Header(key)
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return 0, undecodable("header %s is not a number of milliseconds", key)
	}
	return time.Duration(n) * time.Millisecond, nil
}

func decodeContext(m *messaging.Message, e *messaging.Envelope) error {
	value, ok := m.Header(headerContext)
	if !ok {
		return nil
	}
	s := scanner{data: []byte(value)}
	if err := checkUTF8(s.data); err != nil {
		return err
	}
	var a arena
	for s.next() {
		if err := addContext(e, &a, s.key, s.value); err != nil {
			return err
		}
	}
	return s.err()
}
