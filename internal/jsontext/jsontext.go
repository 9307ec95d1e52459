// Package jsontext turns Go values into the JSON text of the wire and back:
// encoding/json, but integers keep every digit, Python's NaN, Infinity and
// -Infinity are read as strings, a json.RawMessage passes as it is, and < > & are
// not escaped.
package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// maxPooled is the size of a text whose buffers are not kept.
const maxPooled = 64 << 10

// Codec encodes with buffers that it uses again, and decodes. The zero value is
// ready to use, and safe for concurrent use; it must not be copied then.
type Codec struct {
	encoders sync.Pool // of *Buffer
	shapes   sync.Map  // *shape of types
}

// Buffer holds what Encode returned.
type Buffer struct {
	buf bytes.Buffer
	enc *json.Encoder
}

// Marshal encodes v.
func (c *Codec) Marshal(v any) ([]byte, error) {
	e, data, err := c.Encode(v)
	if err != nil {
		return nil, err
	}
	if e != nil {
		data = bytes.Clone(data)
		c.Free(e)
	}
	return data, nil
}

// Encode encodes v into the buffer that it returns, to be given to Free. There
// is none for raw texts.
func (c *Codec) Encode(v any) (*Buffer, []byte, error) {
	if raw, ok := v.(json.RawMessage); ok {
		raw, err := Check(raw)
		return nil, raw, err
	}
	e, _ := c.encoders.Get().(*Buffer)
	if e == nil {
		e = &Buffer{}
		e.enc = json.NewEncoder(&e.buf)
		e.enc.SetEscapeHTML(false)
		e.buf.Grow(64) // where a short text is written at once
	}
	e.buf.Reset()
	text, ok := appendPlain(e.buf.AvailableBuffer(), v)
	if !ok {
		if s := c.shapeOf(reflect.TypeOf(v)); s.fields != nil {
			text, ok = appendFields(e.buf.AvailableBuffer(), reflect.ValueOf(v), s.fields)
		}
	}
	if ok {
		e.buf.Write(text) // the buffer's own, if there was room
		return e, e.buf.Bytes(), nil
	}
	if err := e.enc.Encode(v); err != nil {
		return nil, nil, err
	}
	return e, bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")), nil
}

// Free makes a buffer ready for another Encode.
func (c *Codec) Free(e *Buffer) {
	if e.buf.Cap() <= maxPooled {
		c.encoders.Put(e)
	}
}

// Check returns raw, or null when it is empty, if it can be a part of a
// message.
func Check(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return json.RawMessage("null"), nil
	}
	if json.Valid(raw) {
		return raw, nil
	}
	if quoted, ok := QuoteTokens(raw); ok && json.Valid(quoted) {
		return raw, nil
	}
	return nil, errors.New("json.RawMessage is not JSON")
}

// QuoteTokens returns data with Python's NaN, Infinity and -Infinity as
// strings, and whether there were any.
func QuoteTokens(data []byte) ([]byte, bool) {
	var out []byte
	last := 0
	for i := 0; i < len(data); {
		switch c := data[i]; c {
		case '"':
			i = skipString(data, i)
		case 'N', 'I', '-':
			n := tokenLen(data[i:])
			if n == 0 {
				i++
				continue
			}
			out = append(out, data[last:i]...)
			out = strconv.AppendQuote(out, string(data[i:i+n]))
			i += n
			last = i
		default:
			i++
		}
	}
	if last == 0 {
		return data, false
	}
	return append(out, data[last:]...), true
}

// skipString returns the index behind the string that begins at i.
func skipString(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

func tokenLen(data []byte) int {
	for _, token := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if len(data) >= len(token) && string(data[:len(token)]) == token {
			return len(token)
		}
	}
	return 0
}

// AppendString appends s as a JSON string.
func AppendString(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...) // strings always encode
	}
	return append(b, text...)
}

// Text returns the string that raw holds, null and nothing as "", and any other
// value as it is written. It is valid UTF-8.
func Text(raw json.RawMessage) string {
	var s *string
	if json.Unmarshal(raw, &s) != nil {
		return strings.ToValidUTF8(string(raw), "\ufffd")
	}
	if s == nil {
		return ""
	}
	return *s
}

// Members calls f with each member of a JSON object, whose values may hold
// Python's NaN, Infinity and -Infinity and are passed as they are written. Of what
// is no object it passes what it understands, and it never panics.
func Members(object []byte, f func(name string, value json.RawMessage)) {
	rest, ok := bytes.CutPrefix(skipBlanks(object), []byte("{"))
	for ok {
		rest = skipBlanks(rest)
		if len(rest) == 0 || rest[0] != '"' {
			return
		}
		end := skipString(rest, 0)
		name := Text(rest[:end])
		if rest, ok = bytes.CutPrefix(skipBlanks(rest[end:]), []byte(":")); !ok {
			return
		}
		rest = skipBlanks(rest)
		end = skipValue(rest)
		f(name, bytes.TrimRight(rest[:end:end], blanks))
		rest, ok = bytes.CutPrefix(rest[end:], []byte(","))
	}
}

const blanks = " \t\r\n"

func skipBlanks(data []byte) []byte {
	for i, c := range data {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return data[i:]
		}
	}
	return nil
}

// skipValue returns the index behind the value that data begins with: that of the
// comma or bracket which ends it.
func skipValue(data []byte) int {
	depth := 0
	for i := 0; i < len(data); {
		switch data[i] {
		case '"':
			i = skipString(data, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return len(data)
}
