package jsontext

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"testing"
)

type (
	// few is plain; likeFew has a method, and takes the way of everything else.
	few struct {
		A      int    `json:"a"`
		Name   string `json:"the_name"`
		On     bool
		Big    int64
		hidden int // no part of the text
	}
	likeFew few
)

func (likeFew) Method() {}

// checkFieldsEncoding compares what the codec writes with what encoding/json does.
func checkFieldsEncoding(t *testing.T, v few) {
	t.Helper()
	for _, v := range []any{v, &v} {
		checkPlainEncoding(t, v)
	}
}

// checkFieldsDecoding compares what is decoded into a plain struct, and how that
// fails, with what is decoded into another one.
func checkFieldsDecoding(t *testing.T, data []byte) {
	t.Helper()
	for _, strict := range []bool{false, true} {
		var c Codec
		for range 2 {
			got := few{A: 1, Name: "before", On: true, Big: 2, hidden: 3}
			want := likeFew(got)
			gotErr, wantErr := c.Decode(data, &got, strict), c.Decode(data, &want, strict)
			if (gotErr == nil) != (wantErr == nil) || gotErr == nil && got != few(want) {
				t.Errorf("%q: %+v (%v), want %+v (%v)", data, got, gotErr, want, wantErr)
			}
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	for _, v := range []few{
		{},
		{A: -1, Name: "x", On: true, Big: math.MinInt64, hidden: 4},
		{Name: `"quoted" \`},
		{Name: "<é\u2028\xff>"},
	} {
		checkFieldsEncoding(t, v)
	}
	checkPlainEncoding(t, (*few)(nil))
	for _, text := range []string{
		"", "{", "}", "{}", " { } ", "{}x", "{} {}", "[]", "null", "1", "{,}", `{"a"}`, `{"a":}`, `{"a":1`, `{"a":1,}`, `{"a":1}}`, `{"a" 1}`, `{"a`, `{"`,
		`{"a":1}`, "\n{ \"a\" : 7 , \"Big\"\t:\r-9 }\n", `{"Big":4,"a":3}`, `{"a":1,"a":2}`, `{"a":1,"a":null}`, `{"a":1,"a":"x"}`,
		`{"the_name":"é","a":3}`, `{"the_name":"a\"b"}`, `{"the_name":"a\\"}`, `{"the_name":"`, `{"the_name":"x`, `{"the_name":"x"y}`, `{"the_name":5}`, `{"the_name":""}`,
		`{"A":5}`, `{"Name":"x"}`, `{"THE_NAME":"x"}`, `{"\u0061":5}`, `{"hidden":5}`, `{"":5}`, `{"a":1,"b":2}`, `{"b":2,"a":1}`,
		`{"On":true,"a":01}`, `{"On":false}`, `{"On":1}`, `{"On":truex}`, `{"a":1.0}`, `{"a":1e2}`, `{"a":-}`, `{"a":9223372036854775808}`,
		`{"Big":9223372036854775807}`, `{"a":[1]}`, `{"a":{"a":1}}`, `{"a":NaN,"Big":1}`, `{"a":1 2}`, `{"a":1;"Big":2}`, "{\"the_name\":\"\xff\"}", "{\"the_name\":\"\n\"}",
	} {
		checkFieldsDecoding(t, []byte(text))
	}
	for _, v := range []any{(*few)(nil), few{}, new(*few)} {
		if got, want := new(Codec).Decode([]byte(`{"a":1}`), v, false), Decode([]byte(`{"a":1}`), v, false); (got == nil) != (want == nil) {
			t.Errorf("into a %T: %v, want %v", v, got, want)
		}
	}
}

func TestWhatIsPlain(t *testing.T) {
	t.Parallel()
	for v, want := range map[any]int{
		few{}: 4, struct{}{}: 0, struct{ a int }{}: 0, struct {
			A int `json:",string"`
		}{}: -1,
		struct {
			A int `json:"-"`
		}{}: -1,
		struct {
			A int `json:"é"`
		}{}: -1,
		struct {
			A int `json:"b"`
			B int
		}{}: -1,
		struct{ few }{}: -1, likeFew{}: -1, struct{ A namedInt }{}: -1, struct{ A any }{}: -1, struct{ A json.Number }{}: -1, struct{ A *int }{}: -1, 1: -1,
	} {
		fields := plainFields(reflect.TypeOf(v))
		if (fields == nil) != (want < 0) || len(fields) != max(want, 0) {
			t.Errorf("%T has %d plain fields, want %d", v, len(fields), want)
		}
	}
}

// FuzzFields: the short way and the long one are the same, both ways.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"a": 1, "the_name": "x", "On": true, "Big": -5}`), int64(-1), "a")
	f.Add([]byte(`{"A":1,"a":null}`), int64(math.MinInt64), "\u2028<\xff")
	f.Fuzz(func(t *testing.T, data []byte, n int64, s string) {
		v := few{A: int(n), Name: s, On: n%2 == 0, Big: n}
		checkFieldsEncoding(t, v)
		checkFieldsDecoding(t, data)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		checkFieldsDecoding(t, text)
		checkFieldsDecoding(t, bytes.ToUpper(text))
	})
}
