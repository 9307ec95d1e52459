package interop_test

import (
	"strings"
	"testing"
	"time"
)

func ok(result string) outcome { return outcome{kind: "ok", result: result} }

func failed(class, message string) outcome {
	return outcome{kind: "remote", class: class, message: message}
}

func unsupported(version, method string) outcome {
	return failed("UnsupportedVersion", "Endpoint does not support RPC version "+version+". Attempted method: "+method)
}

func noMethod(method string) outcome {
	return failed("NoSuchMethod", "Endpoint does not support RPC method "+method)
}

func TestCalls(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		request
		want outcome
	}{
		{"arguments and result", request{method: "add", args: `{"a": 2, "b": 3}`}, ok("5")},
		{"no arguments", request{method: "echo"}, ok("{}")},
		{"no result", request{method: "nothing"}, ok("null")},
		{"named server", request{method: "whoami", server: host}, ok(`"` + host + `"`)},
		{"ping", request{method: "oslo_rpc_server_ping"}, ok(`"pong"`)},

		{"same version", request{method: "nothing", version: "1.5"}, ok("null")},
		{"older version", request{method: "nothing", version: "1.0"}, ok("null")},
		{"revision of an older version", request{method: "nothing", version: "1.4.9"}, ok("null")},
		{"newer version", request{method: "nothing", version: "1.6"}, unsupported("1.6", "nothing")},
		{"newer revision", request{method: "nothing", version: "1.5.1"}, unsupported("1.5.1", "nothing")},
		{"other major version", request{method: "nothing", version: "2.0"}, unsupported("2.0", "nothing")},
		{"version under the cap", request{method: "nothing", version: "1.4", versionCap: "1.5"}, ok("null")},
		{"version above the cap", request{method: "nothing", version: "1.5", versionCap: "1.4"}, outcome{kind: cappedOut}},
		{"can send", request{do: "can_send", version: "1.4", versionCap: "1.5"}, ok("true")},
		{"cannot send", request{do: "can_send", version: "1.5", versionCap: "1.4"}, ok("false")},

		{"namespace", request{method: "where", namespace: "ns1", version: "2.3"}, ok(`"ns1"`)},
		{"legacy namespace", request{method: "where", namespace: "oldns", version: "2.0"}, ok(`"ns1"`)},
		{"version of another namespace", request{method: "where", namespace: "ns1", version: "1.5"}, unsupported("1.5", "where")},
		{"unknown namespace", request{method: "where", namespace: "ns2", version: "2.3"}, unsupported("2.3", "where")},
		{"method of another namespace", request{method: "where"}, noMethod("where")},

		{"unknown method", request{method: "nope"}, noMethod("nope")},
		{"private method", request{method: "_private"}, noMethod("_private")},
		{"unknown argument", request{method: "add", args: `{"a": 2, "b": 3, "c": 4}`}, failed("TypeError", "")},
		{"exception", request{method: "fail", args: `{"message": "boom"}`}, failed("ValueError", "boom")},
		{"exception with unicode", request{method: "fail", args: `{"message": "h\u00e9llo \u4e16\u754c"}`}, failed("ValueError", "héllo 世界")},
		{"expected exception", request{method: "fail_expected", args: `{"key": "k"}`}, failed("KeyError", "")},
		{"exception of an unknown class", request{method: "fail_custom", args: `{"message": "m", "code": 7}`}, failed("CustomError", "m")},

		{"slow method", request{method: "sleep", args: `{"seconds": 0.2}`}, ok("0.2")},
		{"timeout", request{method: "sleep", args: `{"seconds": 1}`, timeout: 300 * time.Millisecond}, outcome{kind: timedOut}},
		{"nobody listens", request{method: "nothing", server: "absent", timeout: 300 * time.Millisecond}, outcome{kind: timedOut}},
		{"nobody listens, mandatory", request{method: "nothing", server: "absent", mandatory: true}, outcome{kind: noRoute}},
		{"nobody listens to a cast", request{do: "cast", method: "nothing", server: "absent"}, ok("null")},
		{"nobody listens to a cast, mandatory", request{do: "cast", method: "nothing", server: "absent", mandatory: true}, outcome{kind: noRoute}},
	}
	for _, p := range startPairs(t) {
		t.Run(strings.ReplaceAll(p.name, " ", "_"), func(t *testing.T) {
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					r := tt.request
					r.topic = p.topic
					if d := diff(t, tt.want, p.send(t, r)); d != "" {
						t.Errorf("outcome (-want +got):\n%s", d)
					}
				})
			}
		})
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	requestContext := map[string]any{
		"user_id": "u1", "is_admin": false, "project_id": nil, "roles": []string{"reader", "lecteur é"},
		"nested": map[string]any{"quota": 9007199254740993},
	}
	const want = `{"user_id": "u1", "is_admin": false, "project_id": null, "roles": ["reader", "lecteur é"],
		"nested": {"quota": 9007199254740993}}`
	for _, p := range startPairs(t) {
		t.Run(p.name, func(t *testing.T) {
			got := p.send(t, request{topic: p.topic, method: "context", context: requestContext})
			if d := diff(t, ok(want), got); d != "" {
				t.Errorf("request context in the handler (-want +got):\n%s", d)
			}
			got = p.send(t, request{topic: p.topic, method: "context"})
			if d := diff(t, ok("{}"), got); d != "" {
				t.Errorf("no request context in the handler (-want +got):\n%s", d)
			}
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	wide := strings.Repeat("世", 64<<10)
	tests := []struct {
		name   string
		text   string // JSON as both languages write it
		python string // what it is to a Python method
		golang string // what it is to a Go method that takes any
	}{
		{"null", `null`, "NoneType None", "<nil> <nil>"},
		{"true", `true`, "bool True", "bool true"},
		{"integer", `-7`, "int -7", "json.Number -7"},
		{"integer beyond 2^53", `9007199254740993`, "int 9007199254740993", "json.Number 9007199254740993"},
		{"integer beyond 64 bits", `1180591620717411303424`, "int 1180591620717411303424", "json.Number 1180591620717411303424"},
		{"float", `0.1`, "float 0.1", "json.Number 0.1"},
		{"float without fraction", `1.0`, "float 1.0", "json.Number 1.0"},
		{"float with exponent", `1e+20`, "float 1e+20", "json.Number 1e+20"},
		{"negative zero", `-0.0`, "float -0.0", "json.Number -0.0"},
		{"NaN", `NaN`, "float nan", "string NaN"},
		{"infinity", `[Infinity, -Infinity]`, "list [inf, -inf]", "[]interface {} [Infinity -Infinity]"},
		{"empty text", `""`, "str ''", "string "},
		{"unicode", `"h\u00e9llo \u4e16\u754c \ud83d\ude00"`, "str 'héllo 世界 😀'", "string héllo 世界 😀"},
		{"controls", `"a\tb\u0000c\\ \" / <&>"`, `str 'a\tb\x00c\\ " / <&>'`, "string a\tb\x00c\\ \" / <&>"},
		{"empty list", `[]`, "list []", "[]interface {} []"},
		{"empty object", `{}`, "dict {}", "map[string]interface {} map[]"},
		{
			"nested", `{"a": [1, {"b": [null, "c"]}], "": {}}`, "dict {'a': [1, {'b': [None, 'c']}], '': {}}",
			"map[string]interface {} map[:map[] a:[1 map[b:[<nil> c]]]]",
		},
		{"1 MiB", `"` + long + `"`, "str '" + long + "'", "string " + long},
		{"wide", `"` + wide + `"`, "str '" + wide + "'", "string " + wide},
	}
	for _, p := range startPairs(t) {
		for _, tt := range tests {
			t.Run(p.name+"/"+tt.name, func(t *testing.T) {
				args := `{"value": ` + tt.text + `}`
				got := p.send(t, request{topic: p.topic, method: "echo", args: args})
				if d := diff(t, ok(args), got); d != "" {
					t.Errorf("value that came back (-want +got):\n%.1000s", d)
				}
				want := map[string]string{pyTopic: tt.python, goTopic: tt.golang}[p.topic]
				got = p.send(t, request{topic: p.topic, method: "describe", args: args})
				if text := decode(t, got.result); got.kind != "ok" || text != want {
					t.Errorf("the method got %.200q (%+.200v), want %.200q", text, got, want)
				}
			})
		}
	}
}

// TestCompression: a Python peer compresses what it sends when it is told to,
// and what it gets may be compressed or not.
func TestCompression(t *testing.T) {
	t.Parallel()
	args := `{"value": "` + strings.Repeat("patchbay ", 10_000) + `"}`
	url := vhost(t)
	startService(t, url, goTopic, host)
	p := sharedPeer(t)
	py, golang := pyClient{p, url}, goClient{open(t, url)}
	for _, algorithm := range []string{"gzip", "bzip2"} {
		t.Run(algorithm, func(t *testing.T) {
			query := "?kombu_compression=" + algorithm
			p.serve(t, url+query, algorithm, host, false)
			for _, r := range []struct {
				name string
				client
				request
			}{
				{"request to go", py, request{topic: goTopic, query: query}},
				{"reply to go", golang, request{topic: algorithm}},
			} {
				r.method, r.args = "echo", args
				if d := diff(t, ok(args), r.send(t, r.request)); d != "" {
					t.Errorf("%s: value that came back (-want +got):\n%.1000s", r.name, d)
				}
			}
		})
	}
}
