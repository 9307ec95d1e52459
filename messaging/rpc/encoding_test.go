package rpc_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestJSONUnmarshal(t *testing.T) {
	type args struct {
		N int64     `json:"n"`
		U uint64    `json:"u"`
		F rpc.Float `json:"f"`
		A any       `json:"a"`
	}
	tests := []struct {
		name, in string
		want     args
		wantErr  string
	}{
		{"integers above 2^53", `{"n":9007199254740993,"u":18446744073709551615}`, args{N: 9007199254740993, U: math.MaxUint64}, ""},
		{"into any, as json.Number", `{"a":[9007199254740993]}`, args{A: []any{json.Number("9007199254740993")}}, ""},
		{"missing is zero", ` {} `, args{}, ""},
		{"a float", `{"f":1.5}`, args{F: 1.5}, ""},
		{"Python's infinity", `{"f":Infinity}`, args{F: rpc.Float(math.Inf(1))}, ""},
		{"Python's negative infinity", `{"f": -Infinity}`, args{F: rpc.Float(math.Inf(-1))}, ""},
		{"tokens into any, as strings", `{"a":[NaN,Infinity,"NaN","a\"NaN"]}`, args{A: []any{"NaN", "Infinity", "NaN", `a"NaN`}}, ""},
		{"tokens only where values are", `{"n":1NaN}`, args{}, "invalid character"},
		{"unknown name", `{"x":1}`, args{}, `unknown field "x"`},
		{"wrong type", `{"n":"1"}`, args{}, "cannot unmarshal string"},
		{"fraction into an integer", `{"n":1.5}`, args{}, "cannot unmarshal number"},
		{"text behind", `{} {}`, args{}, "after top-level value"},
		{"cut", `{"n":1`, args{}, "unexpected end of JSON"},
		{"nothing", ``, args{}, "unexpected end of JSON"},
		{"no object", `[1]`, args{}, "cannot unmarshal array"},
		{"deep nesting", strings.Repeat("[", 100000), args{}, "exceeded max depth"},
	}
	j := &rpc.JSON{Strict: true} // one for all: an error must not spoil the next
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got args
			err := j.Unmarshal([]byte(tt.in), &got)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestJSONNaNIntoFloat(t *testing.T) {
	var f rpc.Float
	for _, in := range []string{`NaN`, `"NaN"`} {
		if err := new(rpc.JSON).Unmarshal([]byte(in), &f); err != nil || !math.IsNaN(float64(f)) {
			t.Errorf("%s: %v, %v", in, f, err)
		}
	}
	if err := new(rpc.JSON).Unmarshal([]byte(`"1.5"`), &f); err == nil {
		t.Error("a number in a string was read as a number")
	}
}

func TestJSONLenientIgnoresUnknownNames(t *testing.T) {
	var v struct{ A int }
	if err := new(rpc.JSON).Unmarshal([]byte(`{"a":1,"b":2}`), &v); err != nil || v.A != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestJSONMarshal(t *testing.T) {
	tests := []struct {
		name    string
		in      any
		want    string
		wantErr bool
	}{
		{"nil", nil, `null`, false},
		{"no escaping of <>&", rpc.Args{"a": "<&>"}, `{"a":"<&>"}`, false},
		{"big integers", []any{uint64(math.MaxUint64), json.Number("1180591620717411303424")}, `[18446744073709551615,1180591620717411303424]`, false},
		{"floats that are no numbers", []rpc.Float{1.5, rpc.Float(math.NaN()), rpc.Float(math.Inf(1)), rpc.Float(math.Inf(-1))}, `[1.5,"NaN","Infinity","-Infinity"]`, false},
		{"raw", json.RawMessage(` {"a": 1}`), ` {"a": 1}`, false},
		{"raw with Python's tokens", json.RawMessage(`[NaN]`), `[NaN]`, false},
		{"raw, empty", json.RawMessage(nil), `null`, false},
		{"raw, broken", json.RawMessage(`{`), ``, true},
		{"not encodable", make(chan int), ``, true},
		{"NaN as float64", math.NaN(), ``, true},
	}
	j := &rpc.JSON{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := j.Marshal(tt.in)
			if (err != nil) != tt.wantErr || string(got) != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestJSONIsSafeForConcurrentUse(t *testing.T) {
	j := &rpc.JSON{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				data, err := j.Marshal([]int{i, i})
				var back []int
				if uerr := j.Unmarshal(data, &back); err != nil || uerr != nil || len(back) != 2 || back[0] != i {
					t.Errorf("%s: %v, %v, %v", data, back, err, uerr)
					return
				}
			}
		})
	}
	wg.Wait()
}

// everything has what encoding/json has rules for.
type everything struct {
	Text   string
	Number json.Number
	Raw    json.RawMessage
	Any    any
	Object map[string]any
	List   []string
	Array  [2]int
	Bytes  []byte
	Ptr    *everything
	Float  float32
	Small  int8
	Flag   bool `json:"flag,omitempty"`
	ByID   map[int]string
	Time   time.Time
	Nested struct{ A, B int }
	inner
}

type inner struct{ Inner string }

// FuzzJSONInto compares with encoding/json what is read into Go types.
func FuzzJSONInto(f *testing.F) {
	for _, s := range []string{
		`{"Text":"x\u00e9\ud83d\ude00\ud800","Number":1e400,"Raw": [1, 2] ,"Any":{"a":[1.0,null,{"b":true}]}}`,
		`{"text":"by another case","TEXT":"twice","flag":true,"Inner":"i","Time":"2026-11-25T10:00:00Z"}`,
		`{"Object":{"n":12345678901234567890,"o":{}},"List":["a",null],"Array":[1,2,3],"Bytes":"AAEC","ByID":{"7":"x"}}`,
		`{"Ptr":{"Ptr":null,"Small":127},"Float":3.5,"Nested":{"A":1,"b":2},"unknown":[{"x":0}]}`,
		`{"Small":128}`, `{"Number":"1"}`, `{"Number":"x"}`, `{"Number":true}`, `null`, `[]`, `{"Text":"\xff"}`, `{"Array":[1]}`, `{"Any":{},"Any":[2]}`,
	} {
		f.Add([]byte(s))
	}
	j := &rpc.JSON{}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		var got, want everything
		err := j.Unmarshal(data, &got)
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		werr := d.Decode(&want)
		if (err == nil) != (werr == nil) {
			t.Fatalf("%q: %v, want %v", data, err, werr)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(everything{})); err == nil && diff != "" {
			t.Fatalf("%q: -want +got:\n%s", data, diff)
		}
	})
}

// FuzzJSON compares with encoding/json, which it must not differ from on JSON.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,null,true,"x"]}`, `NaN`, `[NaN,-Infinity]`, `"\"NaN"`, `{}x`, ` 1 `, `-`, `"`, `[Infinity`} {
		f.Add([]byte(s))
	}
	j := &rpc.JSON{}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got any
		err := j.Unmarshal(data, &got)
		if !json.Valid(data) {
			if _, tokens := rpc.QuoteTokens(data); err == nil && !tokens {
				t.Fatalf("%q was read as %v", data, got)
			}
			return
		}
		want := any(nil)
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if werr := d.Decode(&want); werr != nil || err != nil {
			t.Fatalf("%q: %v, want %v", data, err, werr)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, want %#v", data, got, want)
		}
	})
}

// ownEncoding is an Encoding of an application's.
type ownEncoding struct{ calls *atomic.Int32 }

func (e ownEncoding) Marshal(v any) ([]byte, error) { e.calls.Add(1); return json.Marshal(v) }
func (e ownEncoding) Unmarshal(data []byte, v any) error {
	e.calls.Add(1)
	return json.Unmarshal(data, v)
}

func TestOwnEncoding(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		var calls atomic.Int32
		b.serve("s1", &rpc.ServerOptions{Encoding: ownEncoding{&calls}}, demo())
		c := b.client(&rpc.ClientOptions{Encoding: ownEncoding{&calls}})
		if n, err := rpc.CallFor[int](t.Context(), c, "add", rpc.Args{"A": 1, "B": 2, "C": 3}); err != nil || n != 3 {
			t.Errorf("%d, %v", n, err)
		}
		if n := calls.Load(); n != 4 {
			t.Errorf("the encoding was used %d times, want 4", n)
		}
	})
}
