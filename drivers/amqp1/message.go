package amqp1

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/patchbay-go/patchbay/internal/intern"
	"github.com/patchbay-go/patchbay/messaging"
)

// maxTTL is the longest life that the header can say.
const maxTTL = math.MaxUint32 * time.Millisecond

// check reports what no peer takes.
func check(to messaging.Address, m *messaging.Message, limit int64) error {
	if limit > 0 && int64(len(m.Body)) > limit {
		return fmt.Errorf("%w: %d bytes, the peer takes %d", messaging.ErrTooLarge, len(m.Body), limit)
	}
	if !isASCII(m.ContentType) || !isASCII(m.ContentEncoding) {
		return errors.Join(messaging.ErrPermanent, errors.New("a content type is ASCII"))
	}
	valid := utf8.ValidString(to.Direct) && utf8.ValidString(m.ID) && utf8.ValidString(m.CorrelationID) && utf8.ValidString(m.ReplyTo)
	for i := range m.Headers {
		valid = valid && utf8.ValidString(m.Headers[i].Key) && utf8.ValidString(m.Headers[i].Value)
	}
	if !valid {
		return errors.Join(messaging.ErrPermanent, errors.New("an id, an address or a header is not UTF-8"))
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > 0x7f {
			return false
		}
	}
	return true
}

// appendMessage appends a message to an address at a target. One whose content type
// is valueType has a string as its body, as oslo.messaging's old amqp1 driver had it,
// and no more properties than that knew; of others the body is data.
func appendMessage(b []byte, m *messaging.Message, to messaging.Address, target *terminus, valueType string) []byte {
	b = appendHeader(b, m)
	isValue := m.ContentType == valueType
	b, at := beginCompound(b, sectionProperties, codeList32)
	b = appendOptional(b, codeString8, m.ID)
	b = append(b, codeNull) // the user
	if target.anonymous || isValue {
		b = appendOptional(b, codeString8, target.address)
	} else {
		b = append(b, codeNull)
	}
	subject := target.subject
	if subject == "" && to.Kind == messaging.KindNotify && !isValue {
		subject = to.Topic
	}
	b = appendOptional(b, codeString8, subject)
	b = appendOptional(b, codeString8, m.ReplyTo)
	b = appendOptional(b, codeString8, m.CorrelationID)
	if isValue {
		b = endCompound(b, at, 6)
		if len(m.Body) == 0 { // a heartbeat
			return append(appendDescriptor(b, sectionValue), codeNull)
		}
		return appendText(appendDescriptor(b, sectionValue), codeString8, m.Body)
	}
	b = appendOptional(b, codeSymbol8, m.ContentType)
	// AMQP 0-9-1 puts a character set there; here it is for what has to be undone.
	if m.ContentEncoding == "utf-8" {
		b = append(b, codeNull)
	} else {
		b = appendOptional(b, codeSymbol8, m.ContentEncoding)
	}
	b = appendHeaders(endCompound(b, at, 8), m.Headers)
	return appendText(appendDescriptor(b, sectionData), codeBinary8, m.Body)
}

func appendHeader(b []byte, m *messaging.Message) []byte {
	b, at := beginList8(b, sectionHeader)
	b = append(appendBool(b, m.Durable), codeUbyte, m.Priority)
	if m.TTL <= 0 {
		return endList8(b, at, 2)
	}
	ttl := max(time.Millisecond, min(m.TTL, maxTTL))
	return endList8(appendUint(b, uint32(ttl/time.Millisecond)), at, 3) //nolint:gosec // at most maxTTL
}

// appendHeaders appends the application's properties. A name that comes twice would
// make them malformed: the first counts.
func appendHeaders(b []byte, headers []messaging.Header) []byte {
	if len(headers) == 0 {
		return b
	}
	b, at := beginCompound(b, sectionApplication, codeMap32)
	count := 0
	for i := range headers {
		if h := &headers[i]; !has(headers[:i], h.Key) {
			b = appendText(appendText(b, codeString8, h.Key), codeString8, h.Value)
			count += 2
		}
	}
	return endCompound(b, at, count)
}

func has(headers []messaging.Header, key string) bool {
	for i := range headers {
		if headers[i].Key == key {
			return true
		}
	}
	return false
}

// arrival is a message that was received, and what the broker says of it.
type arrival struct {
	messaging.Message
	to, subject []byte // valid until the next frame is read
	count       uint32 // attempts to deliver it that failed
	first       bool   // nobody had it before, says the broker
	header      bool   // it has one
}

// unreadable returns what stands for a message that cannot be read: its content
// type is one that no codec accepts, so it is dropped as any other that cannot be
// decoded.
func unreadable(why error) (a arrival) {
	a.ContentType = "unreadable: " + why.Error()
	return a
}

// decoder reads messages. It belongs to the goroutine that reads.
type decoder struct {
	texts     intern.Table
	maxBody   int64  // bytes of a body; what is larger is not kept. 0: no limit
	valueType string // the content type of a message that holds a value, or nothing, and does not say what it is
}

// message reads a message, of which it keeps nothing.
func (d *decoder) message(b []byte) arrival {
	var a arrival
	r := reader{rest: b}
	isValue := true
	for len(r.rest) > 0 {
		section := r.next()
		var err error
		switch section.descriptor {
		case sectionHeader:
			err = d.header(&a, section.list())
		case sectionProperties:
			err = d.properties(&a, section.list())
		case sectionApplication:
			a.Headers, err = d.headers(section)
		case sectionData, sectionValue:
			if text, ok := section.text(); ok {
				if d.maxBody > 0 && int64(len(a.Body)+len(text)) > d.maxBody {
					return unreadable(d.tooLarge())
				}
				a.Body = append(a.Body, text...)
			} else {
				isValue = section.null() // a list or a map is no message of anybody's
			}
			if section.descriptor == sectionData {
				isValue = false
			}
		case sectionSequence:
			isValue = false
		case sectionDelivery, sectionMessage, sectionFooter:
		default:
			if r.err == nil {
				err = errNotType
			}
		}
		if err != nil {
			return unreadable(err)
		}
	}
	if r.err != nil {
		return unreadable(r.err)
	}
	if a.ContentType == "" && isValue {
		a.ContentType = d.valueType
	}
	return a
}

func (d *decoder) tooLarge() error {
	return fmt.Errorf("it is larger than the limit of %d bytes", d.maxBody)
}

func (*decoder) header(a *arrival, f fields) error {
	a.header = true
	a.Durable = f.next().bool()
	if priority := f.next(); !priority.null() {
		a.Priority = uint8(min(priority.uint32(), 9)) //nolint:gosec // 9 at most
	} else {
		a.Priority = defaultPriority
	}
	a.TTL = time.Duration(f.next().uint32()) * time.Millisecond
	a.first, a.count = f.next().bool(), f.next().uint32()
	return f.err
}

// defaultPriority is that of the specification.
const defaultPriority = 4

func (d *decoder) properties(a *arrival, f fields) error {
	a.ID = identifier(f.next())
	f.skip(1) // the user
	a.to, a.subject = optionalText(&f), optionalText(&f)
	a.ReplyTo = d.texts.Text(optionalText(&f))
	a.CorrelationID = identifier(f.next())
	a.ContentType, a.ContentEncoding = d.texts.Text(optionalText(&f)), d.texts.Text(optionalText(&f))
	if f.err == nil && !(utf8.ValidString(a.ID) && utf8.ValidString(a.CorrelationID) && utf8.ValidString(a.ReplyTo)) {
		return errNotText // it would go back, in a reply
	}
	return f.err
}

var errNotText = errors.New("what should be text is something else")

// optionalText reads a string or a symbol.
func optionalText(f *fields) []byte {
	v := f.next()
	switch v.code {
	case codeNull:
		return nil
	case codeString8, codeString32, codeSymbol8, codeSymbol32:
		return v.data
	}
	f.fail(errNotText)
	return nil
}

// maxHeaders bounds how many there may be.
const maxHeaders = 8192

// headers reads the application's properties, and sorts them by their names. What is
// no scalar is left out.
func (d *decoder) headers(section value) ([]messaging.Header, error) {
	if section.code != codeMap8 && section.code != codeMap32 {
		if section.null() {
			return nil, nil
		}
		return nil, errNotType
	}
	if section.count%2 != 0 || section.count > 2*maxHeaders {
		return nil, fmt.Errorf("%w: a map of %d values", errNotType, section.count)
	}
	headers := make([]messaging.Header, 0, section.count/2)
	r := reader{rest: section.data}
	for range section.count / 2 {
		key, v := r.next(), r.next()
		name, ok := key.text()
		if r.err != nil || !ok {
			return nil, errors.Join(errNotText, r.err)
		}
		if text, ok := v.scalar(); ok {
			headers = append(headers, messaging.Header{Key: d.texts.Text(name), Value: text})
		}
	}
	if len(headers) > 1 {
		slices.SortStableFunc(headers, func(a, b messaging.Header) int { return strings.Compare(a.Key, b.Key) })
	}
	return headers, nil
}
