package rpc

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/patchbay-go/patchbay/internal/jsontext"
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
//   - Errors of Unmarshal are of github.com/go-json-experiment/json's types, not
//     of encoding/json's.
//
// The zero value is ready to use. It must not be copied after first use.
type JSON struct {
	// Strict makes names that the Go type does not have an error, as a Python
	// server does for arguments it does not know. Servers have it by default.
	Strict bool

	codec jsontext.Codec
}

// Marshal encodes v.
func (j *JSON) Marshal(v any) ([]byte, error) { return j.codec.Marshal(v) }

// Unmarshal decodes data into v.
func (j *JSON) Unmarshal(data []byte, v any) error { return j.codec.Decode(data, v, j.Strict) }

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
