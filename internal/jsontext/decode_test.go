package jsontext

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

type (
	simple struct {
		A int            `json:"a"`
		S string         `json:"s"`
		P *simple        `json:"p"`
		L []simple       `json:"l"`
		M map[string]int `json:"m"`
		T text           `json:"t"`
		R json.RawMessage
	}
	embedded struct{ simple }
	deepAny  struct {
		L []map[string]*struct{ V any }
	}
	deepNumber struct{ M map[string][2]json.Number }
	numberKeys struct{ M map[json.Number]int }
	anyBelow   struct{ deepAny }
	text       string
	itself     struct{ v any }
	holds      struct{ V []itself }
)

func (t *text) UnmarshalText(b []byte) error { *t = text("text " + string(b)); return nil }

func (i *itself) UnmarshalJSONFrom(d *jsontext.Decoder) error { return unmarshalAny(d, &i.v) }

// What a Codec knows of a type changes nothing of what is decoded into it.
func TestCodecDecodesAsDecode(t *testing.T) {
	t.Parallel()
	texts := []string{
		`{"a": 1, "s": "x", "p": {"a": 2, "l": [{}, {"a": 3}]}, "m": {"k": 1}, "t": "y", "R": [1e400]}`,
		`{"A": 1, "S": null, "M": {"1": 2}}`, `{"a": "x", "s": "later"}`, `{"a": 1, "a": 2}`, `{"unknown": 1}`, `{"a": 1`, `{"a": NaN, "s": NaN}`,
		`{"L": [{"x": {"V": 1180591620717411303424}}]}`, `{"M": {"x": [1.0, "2"]}}`, `{"M": {"x": ["no"]}}`,
		`{"V": [1.50, {"n": 1180591620717411303424}]}`, `null`, `1`, `[]`, ``, `{} {}`, `"x"`, `1180591620717411303424`, "{\"s\": \"\xff\"}",
	}
	for _, tt := range []struct {
		of      any
		special bool
	}{
		{simple{}, false},
		{embedded{}, false},
		{[]simple{}, false},
		{map[text]*simple{}, false},
		{0, false},
		{1.5, false},
		{text(""), false},
		{struct{}{}, false},
		{[3]uint8{}, false},
		{json.RawMessage{}, false},
		{deepAny{}, true},
		{deepNumber{}, true},
		{numberKeys{}, true},
		{anyBelow{}, true},
		{itself{}, true},
		{holds{}, true},
		{map[string]any{}, true},
		{json.Number(""), true},
		{struct{ E error }{}, true},
	} {
		typ := reflect.TypeOf(tt.of)
		if got := isSpecial(reflect.PointerTo(typ), map[reflect.Type]bool{}); got != tt.special {
			t.Errorf("%s is special: %v", typ, got)
		}
		var c Codec
		for _, text := range texts {
			for _, strict := range []bool{false, true} {
				got, want := reflect.New(typ), reflect.New(typ)
				gotErr := c.Decode([]byte(text), got.Interface(), strict)
				wantErr := Decode([]byte(text), want.Interface(), strict)
				if !reflect.DeepEqual(got.Interface(), want.Interface()) {
					t.Errorf("%s into %s, strict %v: %+v, want %+v", text, typ, strict, got.Elem(), want.Elem())
				}
				if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
					t.Errorf("%s into %s, strict %v: %v, want %v", text, typ, strict, gotErr, wantErr)
				}
			}
		}
	}
	var c Codec
	if got, want := c.Decode([]byte("1"), nil, true), Decode([]byte("1"), nil, true); got == nil || got.Error() != want.Error() {
		t.Errorf("into nothing: %v, want %v", got, want)
	}
}

// An interface that holds a nil pointer holds nothing to decode into: encoding/json
// replaces it as an empty one.
func TestNilPointerInInterface(t *testing.T) {
	t.Parallel()
	const text = `1180591620717411303424`
	for _, v := range []any{nil, (*int)(nil), (*any)(nil), (*simple)(nil)} {
		if err := Unmarshal([]byte(text), &v); err != nil || v != json.Number(text) {
			t.Errorf("%T %v, %v", v, v, err)
		}
	}
	n := 0
	var v any = &n
	if err := Unmarshal([]byte("7"), &v); err != nil || n != 7 {
		t.Errorf("into a pointer: %v, %v", n, err)
	}
}

func TestRawIntoNothing(t *testing.T) {
	t.Parallel()
	var raw *json.RawMessage
	if err := Unmarshal([]byte("{}"), raw); err == nil {
		t.Error("no error")
	}
	if err := new(Codec).Decode([]byte("{}"), raw, false); err == nil {
		t.Error("a codec: no error")
	}
}

// As for encoding/json, the keys of a map of Numbers are any strings.
func TestNumbersAsKeys(t *testing.T) {
	t.Parallel()
	const text = `{"1": {"x": 2}, "": {"1.0": 3}}`
	var got, want map[json.Number]map[json.Number]json.Number
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v (%v)", got, want, err)
	}
	if err := Unmarshal([]byte(`{"1": {"1": "x"}}`), &got); err == nil {
		t.Error("a value that is no number: no error")
	}
}
