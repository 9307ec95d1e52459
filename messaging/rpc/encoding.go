package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"
)

// Args are the arguments of a method by name, for callers without a struct.
type Args map[string]any

// None is the result of a method that returns nothing, and the arguments of
// one that takes none: null and {} on the wire.
type None struct{}

// Encoding turns arguments and results into the JSON text of the wire and
// back. It is safe for concurrent use.
type Encoding interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// JSON is the Encoding that clients and servers use by default, encoding/json
// with these rules:
//
//   - Integers keep every digit: into any they come as json.Number.
//   - NaN, Infinity and -Infinity, which Python writes though they are no
//     JSON, are read as the strings "NaN", "Infinity" and "-Infinity"; a field
//     of type Float takes both strings and numbers. They are not written.
//   - A json.RawMessage passes as it is, in both directions.
//   - < > & are not escaped.
//
// The zero value is ready to use. It must not be copied after first use.
type JSON struct {
	// Strict makes names that the Go type does not have an error, as a Python
	// server does for arguments it does not know. Servers have it by default.
	Strict bool

	encoders sync.Pool // of *encoder
	decoders sync.Pool // of *decoder
}

// maxPooled is the size of a text whose buffers are not kept.
const maxPooled = 64 << 10

type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

// Marshal encodes v.
func (j *JSON) Marshal(v any) ([]byte, error) {
	e, data, err := j.marshal(v)
	if err != nil {
		return nil, err
	}
	if e != nil {
		data = bytes.Clone(data)
		j.free(e)
	}
	return data, nil
}

// marshal encodes v into a buffer that belongs to the encoder returned, to be
// freed with it. There is none for raw texts.
func (j *JSON) marshal(v any) (*encoder, []byte, error) {
	if raw, ok := v.(json.RawMessage); ok {
		raw, err := checkRaw(raw)
		return nil, raw, err
	}
	e, _ := j.encoders.Get().(*encoder)
	if e == nil {
		e = &encoder{}
		e.enc = json.NewEncoder(&e.buf)
		e.enc.SetEscapeHTML(false)
	}
	e.buf.Reset()
	if err := e.enc.Encode(v); err != nil {
		return nil, nil, err
	}
	return e, bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")), nil
}

func (j *JSON) free(e *encoder) {
	if e.buf.Cap() <= maxPooled {
		j.encoders.Put(e)
	}
}

// checkRaw returns raw, or null when it is empty, if it can be a part of a
// message.
func checkRaw(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return json.RawMessage("null"), nil
	}
	if json.Valid(raw) {
		return raw, nil
	}
	if quoted, ok := quoteTokens(raw); ok && json.Valid(quoted) {
		return raw, nil
	}
	return nil, errors.New("json.RawMessage is not JSON")
}

// decoder is a json.Decoder that can be used again: it reads one text after
// the other from feed.
type decoder struct {
	dec  *json.Decoder
	feed feed
	fed  int64 // bytes of the texts before the present one
}

type feed struct{ rest []byte }

func (f *feed) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Unmarshal decodes data into v.
func (j *JSON) Unmarshal(data []byte, v any) error {
	if raw, ok := v.(*json.RawMessage); ok {
		*raw = append((*raw)[:0], data...)
		return nil
	}
	err := j.decode(data, v)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	quoted, ok := quoteTokens(data)
	if !ok {
		return err
	}
	return j.decode(quoted, v)
}

// decode decodes exactly one value. A decoder that saw an error is not used
// again.
func (j *JSON) decode(data []byte, v any) error {
	d, _ := j.decoders.Get().(*decoder)
	if d == nil {
		d = &decoder{}
		d.dec = json.NewDecoder(&d.feed)
		d.dec.UseNumber()
		if j.Strict {
			d.dec.DisallowUnknownFields()
		}
	}
	d.feed.rest = data
	if err := d.dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	end := d.dec.InputOffset() - d.fed
	if len(bytes.TrimLeft(data[end:], " \t\r\n")) > 0 {
		return fmt.Errorf("unexpected text after the JSON value at offset %d", end)
	}
	if len(data) <= maxPooled {
		d.fed += int64(len(data) - len(d.feed.rest))
		d.feed.rest = nil
		j.decoders.Put(d)
	}
	return nil
}

// unmarshalLenient is for what is decoded rarely and without options.
func unmarshalLenient(data []byte, v any) error {
	var j JSON
	return j.Unmarshal(data, v)
}

// quoteTokens returns data with Python's NaN, Infinity and -Infinity as
// strings, and whether there were any.
func quoteTokens(data []byte) ([]byte, bool) {
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

// Float is a float64 that may be no number or infinite. It reads what Python
// writes for those; it writes them as strings, which Python's float() reads.
type Float float64

// MarshalJSON writes a number, or the strings "NaN", "Infinity" and "-Infinity".
func (f Float) MarshalJSON() ([]byte, error) {
	switch n := float64(f); {
	case math.IsNaN(n):
		return []byte(`"NaN"`), nil
	case math.IsInf(n, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(n, -1):
		return []byte(`"-Infinity"`), nil
	default:
		return json.Marshal(n)
	}
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Float) UnmarshalJSON(data []byte) error {
	s := string(data)
	switch s {
	case `"NaN"`, `"Infinity"`, `"-Infinity"`:
		s = s[1 : len(s)-1]
		n, err := strconv.ParseFloat(s, 64)
		*f = Float(n)
		return err
	}
	return json.Unmarshal(data, (*float64)(f))
}
