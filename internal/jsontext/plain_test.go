package jsontext

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"testing"
)

// named has the same values, but is not plain: it takes the way of everything else.
type (
	namedBool   bool
	namedInt    int
	namedInt64  int64
	namedString string
)

// checkPlainEncoding compares what the codec writes with what encoding/json
// does.
func checkPlainEncoding(t *testing.T, v any) {
	t.Helper()
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	var c Codec
	for range 2 { // with a new buffer and a used one
		got, err := c.Marshal(v)
		if err != nil || string(got)+"\n" != want.String() {
			t.Errorf("%T %v: %q, want %q (%v)", v, v, got, want.Bytes(), err)
		}
	}
}

// checkPlainDecoding compares what is decoded into a plain type, and how that
// fails, with what is decoded into a named one.
func checkPlainDecoding(t *testing.T, data []byte) {
	t.Helper()
	for _, strict := range []bool{false, true} {
		for plain, other := range map[any]any{
			new(bool): new(namedBool), new(int): new(namedInt), new(int64): new(namedInt64), new(string): new(namedString),
		} {
			got, want := Decode(data, plain, strict), Decode(data, other, strict)
			if (got == nil) != (want == nil) {
				t.Errorf("%q into %T: %v, into %T: %v", data, plain, got, other, want)
			}
			p := reflect.ValueOf(plain).Elem()
			o := reflect.ValueOf(other).Elem().Convert(p.Type())
			if !p.Equal(o) {
				t.Errorf("%q into %T: %#v, into %T: %#v", data, plain, p, other, o)
			}
		}
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		nil, true, false, 0, 7, -1, math.MaxInt, math.MinInt, int64(math.MaxInt64), int64(math.MinInt64),
		"", "plain text", `"\`, "<a&b>", "é", "\u2028", "\xff", "a\nb", "\x7f", "\x00",
		namedInt(3), namedString("x"), 1.5,
	} {
		checkPlainEncoding(t, v)
	}
	for _, text := range []string{
		"", " ", "null", "true", "false", "TRUE", "true ", "0", "-0", "00", "01", "-", "--1", "+1", "1.0", "1e3", " 1", "1 ", "1x",
		"999999999999999999", "-999999999999999999", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"-9223372036854775809", `""`, `"`, `"a"`, `"a" `, `"a"b"`, `"\u00e9"`, `"\"`, `"é"`, "\"\xff\"", "\"\n\"", "\"\x7f\"",
		"NaN", "Infinity", "-Infinity", "[1]", `{"a": 1}`, `'a'`,
	} {
		checkPlainDecoding(t, []byte(text))
	}
}

func TestPlainIntoNothing(t *testing.T) {
	t.Parallel()
	for _, v := range []any{(*bool)(nil), (*int)(nil), (*int64)(nil), (*string)(nil)} {
		for _, text := range []string{"true", "1", `"a"`} {
			if err := Decode([]byte(text), v, false); err == nil {
				t.Errorf("%s into a nil %T: no error", text, v)
			}
		}
	}
}

// FuzzPlain: the short way and the long one are the same, both ways.
func FuzzPlain(f *testing.F) {
	f.Add([]byte(`"a"`), int64(-1), "a")
	f.Add([]byte(`-12`), int64(math.MinInt64), "\u2028<\xff")
	f.Add([]byte(`-0`), int64(0), "\"\\")
	f.Fuzz(func(t *testing.T, data []byte, n int64, s string) {
		checkPlainEncoding(t, n)
		checkPlainEncoding(t, int(n))
		checkPlainEncoding(t, s)
		checkPlainDecoding(t, data)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		checkPlainDecoding(t, text)
	})
}
