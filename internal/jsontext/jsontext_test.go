package jsontext_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/internal/jsontext"
)

func members(text string) []string {
	var all []string
	jsontext.Members([]byte(text), func(name string, value json.RawMessage) {
		all = append(all, fmt.Sprintf("%s=%s", name, value))
	})
	return all
}

func TestMembers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`{}`:                              nil,
		` { "a" : 1 , "b":"x,}" } `:       {"a=1", `b="x,}"`},
		`{"a": {"b": [1, "]"]}, "c": []}`: {`a={"b": [1, "]"]}`, "c=[]"},
		`{"a": NaN, "b": -Infinity}`:      {"a=NaN", "b=-Infinity"},
		`{"\u0061": "\"\\", "é": null}`:   {`a="\"\\"`, "é=null"},
		`{"a": 1, "a": 2}`:                {"a=1", "a=2"},
		`[1]`:                             nil,
		``:                                nil,
		`{"a`:                             nil,
		`{"a" 1}`:                         nil,
		`{"a": 1, 2}`:                     {"a=1"},
		`{"a": [1`:                        {"a=[1"},
		`{"a":`:                           {"a="},
	} {
		if d := cmp.Diff(want, members(text)); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"a\u00e9"`: "aé", `null`: "", ``: "", `7`: "7", `{"a": 1}`: `{"a": 1}`, `"` + "\xff": "\"\ufffd",
	} {
		if got := jsontext.Text(json.RawMessage(raw)); got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

// FuzzMembers: of valid JSON, each member is what encoding/json finds; of anything
// else, nothing bad happens.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{"a": {"b": [1, "]"]}}`, `{"a\\": "\\\""}`, `{"a": [[{}]], "": 1e5}`, `{`, `{"`, `{"a":"`, "{\"\\", `{"a":}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string]json.RawMessage
		valid := json.Unmarshal([]byte(text), &want) == nil
		got := map[string]string{}
		jsontext.Members([]byte(text), func(name string, value json.RawMessage) { got[name] = string(value) })
		if !valid {
			return
		}
		for name, value := range want {
			if g := got[name]; g != strings.TrimSpace(string(value)) {
				t.Errorf("%s: member %q is %q, want %q", text, name, g, value)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d members, want %d", text, len(got), len(want))
		}
	})
}
