package messaging_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchbay-go/patchbay/messaging"
)

// The wanted JSON is what oslo.messaging 18.3.1 gave for the same text.
var urlTests = []struct {
	name, url, want string
	canonical       string // of String; empty: as url
}{
	{
		name: "full", url: "rabbit://guest:secret@localhost:5672/vh?a=1&b=x",
		want:      `{"transport":"rabbit","virtual_host":"vh","hosts":[{"hostname":"localhost","port":5672,"username":"guest","password":"***"}],"query":{"a":"1","b":"x"}}`,
		canonical: "rabbit://guest:***@localhost:5672/vh?a=1&b=x",
	},
	{
		name: "scheme only", url: "fake://",
		want: `{"transport":"fake","virtual_host":null,"hosts":[],"query":{}}`,
	},
	{
		name: "scheme and colon", url: "fake:",
		want:      `{"transport":"fake","virtual_host":null,"hosts":[],"query":{}}`,
		canonical: "fake://",
	},
	{
		name: "scheme in capitals, with a part behind plus", url: "Rabbit+TLS://h/",
		want:      `{"transport":"rabbit+tls","virtual_host":"","hosts":[{"hostname":"h","port":null,"username":null,"password":null}],"query":{}}`,
		canonical: "rabbit+tls://h/",
	},
	{
		name: "several hosts, credentials are not inherited", url: "rabbit://u:p@h1:1,h2,,v:q@h3:65535/vh",
		want: `{"transport":"rabbit","virtual_host":"vh","hosts":[` +
			`{"hostname":"h1","port":1,"username":"u","password":"***"},` +
			`{"hostname":"h2","port":null,"username":null,"password":null},` +
			`{"hostname":"h3","port":65535,"username":"v","password":"***"}],"query":{}}`,
		canonical: "rabbit://u:***@h1:1,h2,v:***@h3:65535/vh",
	},
	{
		name: "IPv6 in brackets", url: "rabbit://u:p@[2001:db8::1]:5671,[::1]/",
		want: `{"transport":"rabbit","virtual_host":"","hosts":[` +
			`{"hostname":"2001:db8::1","port":5671,"username":"u","password":"***"},` +
			`{"hostname":"::1","port":null,"username":null,"password":null}],"query":{}}`,
		canonical: "rabbit://u:***@[2001:db8::1]:5671,[::1]/",
	},
	{
		name: "IPv6 without brackets has no port", url: "rabbit://::1/",
		want:      `{"transport":"rabbit","virtual_host":"","hosts":[{"hostname":"::1","port":null,"username":null,"password":null}],"query":{}}`,
		canonical: "rabbit://[::1]/",
	},
	{
		name: "percent escapes in credentials", url: "rabbit://us%40er:p%3A%2F%23@h/",
		want:      `{"transport":"rabbit","virtual_host":"","hosts":[{"hostname":"h","port":null,"username":"us@er","password":"***"}],"query":{}}`,
		canonical: "rabbit://us%40er:***@h/",
	},
	{
		name: "raw at in the user name", url: "rabbit://me@corp:p@h/",
		want:      `{"transport":"rabbit","virtual_host":"","hosts":[{"hostname":"h","port":null,"username":"me@corp","password":"***"}],"query":{}}`,
		canonical: "rabbit://me%40corp:***@h/",
	},
	{
		name: "empty user name and password", url: "rabbit://:@h,@h",
		want: `{"transport":"rabbit","virtual_host":null,"hosts":[` +
			`{"hostname":"h","port":null,"username":"","password":"***"},` +
			`{"hostname":"h","port":null,"username":"","password":null}],"query":{}}`,
		canonical: "rabbit://:***@h,@h",
	},
	{
		name: "credentials without a host", url: "rabbit://u:p@/vh",
		want:      `{"transport":"rabbit","virtual_host":"vh","hosts":[{"hostname":null,"port":null,"username":"u","password":"***"}],"query":{}}`,
		canonical: "rabbit://u:***@/vh",
	},
	{
		name: "port without a host", url: "rabbit://:5672",
		want: `{"transport":"rabbit","virtual_host":null,"hosts":[{"hostname":"","port":5672,"username":null,"password":null}],"query":{}}`,
	},
	{
		name: "host name keeps its case and its percent signs", url: "rabbit://My%41Host/",
		want: `{"transport":"rabbit","virtual_host":"","hosts":[{"hostname":"My%41Host","port":null,"username":null,"password":null}],"query":{}}`,
	},
	{
		name: "two slashes: the virtual host /", url: "rabbit://h//",
		want: `{"transport":"rabbit","virtual_host":"/","hosts":[{"hostname":"h","port":null,"username":null,"password":null}],"query":{}}`,
	},
	{
		name: "escaped slash in the virtual host", url: "rabbit:///%2Fvh",
		want:      `{"transport":"rabbit","virtual_host":"/vh","hosts":[],"query":{}}`,
		canonical: "rabbit:////vh",
	},
	{
		name: "slash inside the virtual host", url: "rabbit:///a/b%20c",
		want: `{"transport":"rabbit","virtual_host":"a/b c","hosts":[],"query":{}}`,
	},
	{
		name: "path without hosts", url: "rabbit:/vh",
		want:      `{"transport":"rabbit","virtual_host":"vh","hosts":[],"query":{}}`,
		canonical: "rabbit:///vh",
	},
	{
		name: "path without a slash is none", url: "rabbit:vh?a=b",
		want:      `{"transport":"rabbit","virtual_host":null,"hosts":[],"query":{"a":"b"}}`,
		canonical: "rabbit://?a=b",
	},
	{
		name: "fragment dropped", url: "rabbit://h/vh#frag?a=1",
		want:      `{"transport":"rabbit","virtual_host":"vh","hosts":[{"hostname":"h","port":null,"username":null,"password":null}],"query":{}}`,
		canonical: "rabbit://h/vh",
	},
	{
		name: "repeated options joined in order of first mention", url: "rabbit://h?z=1&a=2&z=3#f",
		want:      `{"transport":"rabbit","virtual_host":null,"hosts":[{"hostname":"h","port":null,"username":null,"password":null}],"query":{"z":"1,3","a":"2"}}`,
		canonical: "rabbit://h?z=1%2C3&a=2",
	},
	{
		name: "options: plus is a blank, no value is no option, one equals sign counts", url: "fake://?a+b=c+d%2B&e&f=&&g=h=i&=j",
		want:      `{"transport":"fake","virtual_host":null,"hosts":[],"query":{"a b":"c d+","g":"h=i","":"j"}}`,
		canonical: "fake://?a%20b=c%20d%2B&g=h%3Di&=j",
	},
	{
		name: "what is no escape stays, what is not UTF-8 is replaced", url: "rabbit:///%zz%4%C3%A9%FF%",
		want:      `{"transport":"rabbit","virtual_host":"%zz%4é�%","hosts":[],"query":{}}`,
		canonical: "rabbit:///%25zz%254%C3%A9%EF%BF%BD%25",
	},
	{
		name: "line breaks dropped", url: " \trabbit://h:56\n72/v\r\n",
		want:      `{"transport":"rabbit","virtual_host":"v","hosts":[{"hostname":"h","port":5672,"username":null,"password":null}],"query":{}}`,
		canonical: "rabbit://h:5672/v",
	},
	{
		name: "an option that is a URL with a password", url: "amqp1://h?management=http://u:secret@h/&text=a@b",
		want:      `{"transport":"amqp1","virtual_host":null,"hosts":[{"hostname":"h","port":null,"username":null,"password":null}],"query":{"management":"***","text":"a@b"}}`,
		canonical: "amqp1://h?management=***&text=a%40b",
	},
	{
		name: "a password among the options", url: "zmq://h?ssl_key_password=secret&client_SECRET=secret",
		want:      `{"transport":"zmq","virtual_host":null,"hosts":[{"hostname":"h","port":null,"username":null,"password":null}],"query":{"ssl_key_password":"***","client_SECRET":"***"}}`,
		canonical: "zmq://h?ssl_key_password=***&client_SECRET=***",
	},
}

func TestParseURL(t *testing.T) {
	for _, tt := range urlTests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := messaging.ParseURL(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(u)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
			canonical := tt.canonical
			if canonical == "" {
				canonical = tt.url
			}
			if got := u.String(); got != canonical {
				t.Errorf("String() = %q, want %q", got, canonical)
			}
		})
	}
}

func TestParseURLCredentials(t *testing.T) {
	u, err := messaging.ParseURL("rabbit://us%40er:p%3A%2F%23:x@h:1,h2/")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("p:/#:x", u.Hosts[0].Password); diff != "" {
		t.Errorf("password (-want +got):\n%s", diff)
	}
	if u.Hosts[1].HasUsername || u.Hosts[1].HasPassword {
		t.Error("the second host inherited credentials")
	}
	if got, want := u.Hosts[0].HostPort(), (messaging.HostPort{Host: "h", Port: 1}); got != want {
		t.Errorf("HostPort() = %v, want %v", got, want)
	}
}

func TestParseURLErrors(t *testing.T) {
	const port, brackets, at = "port is not a number", "brackets must hold an IPv6 address", "an @ behind the hosts"
	tests := []struct{ name, url, want string }{
		{"empty", "", "no scheme"},
		{"no scheme", "//user:secret@h/", "no scheme"},
		{"scheme begins with a digit", "1rabbit://user:secret@h/", "no scheme"},
		{"scheme with an underscore", "rab_bit://user:secret@h/", "no scheme"},
		{"empty port", "rabbit://user:secret@h:/", port},
		{"port 0", "rabbit://user:secret@h:0/", port},
		{"port 65536", "rabbit://user:secret@h:65536/", port},
		{"port with a sign", "rabbit://user:secret@h:+5/", port},
		{"port with a blank", "rabbit://user:secret@h:5 /", "blank"},
		{"port of the second host", "rabbit://user:secret@h:1,user:secret@h:x", "host 2: the port"},
		{"slash in the password", "rabbit://user:secret/secret@h/", port},
		{"hash in the password", "rabbit://user:secret#secret@h/", port},
		{"comma in the password", "rabbit://user:secret,secret@h/", port},
		{"slash in a password that begins as a port", "rabbit://user:12/secret@h:5672/vh", at},
		{"question mark in a password that begins as a port", "rabbit://user:12?secret@h/", at},
		{"question mark and equals sign likewise", "rabbit://user:12?a=b&secret@h/=c", at},
		{"hash in a password that begins as a port", "rabbit://user:12#secret@h/", at},
		{"at and slash in the password", "rabbit://user:12@h/secret@h/", at},
		{"one slash", "rabbit:/user:secret@h/", "driver://"},
		{"three slashes", "rabbit:///user:secret@h/", at},
		{"no slash", "rabbit:user:secret@h/", "driver://"},
		{"no IPv6 address in brackets", "rabbit://user:secret@[h]/", brackets},
		{"IPv4 address in brackets", "rabbit://user:secret@[127.0.0.1]/", brackets},
		{"text behind brackets", "rabbit://user:secret@[::1]5672/", brackets},
		{"empty port behind brackets", "rabbit://user:secret@[::1]:/", port},
		{"open bracket", "rabbit://user:secret@[::1/", brackets},
		{"closing bracket", "rabbit://user:secret@h]/", "bracket"},
		{"too many colons", "rabbit://user:secret:h:1/", "more than one colon"},
		{"blank in the host name", "rabbit://user:secret@a b/", "blank"},
		{"control character in the host name", "rabbit://user:secret@a\x00b/", "control character"},
		{"not UTF-8", "rabbit://user:secret\xff@h/", "not UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := messaging.ParseURL(tt.url)
			if !errors.Is(err, messaging.ErrInvalidURL) {
				t.Fatalf("ParseURL = %v, %v, want ErrInvalidURL", u, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q holds the password", err)
			}
		})
	}
}

func TestURLHidesPasswords(t *testing.T) {
	u, err := messaging.ParseURL("rabbit://user:verysecret@h/?a_password=verysecret")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{u, *u, u.Hosts, u.Hosts[0], &u.Hosts[0]} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "verysecret") || strings.Contains(got, fmt.Sprintf("%x", "verysecret")) {
				t.Errorf("%s of %T shows the password: %s", verb, v, got)
			}
		}
		if got, err := json.Marshal(v); err != nil || strings.Contains(string(got), "verysecret") {
			t.Errorf("JSON of %T: %s, %v", v, got, err)
		}
	}
}

func TestURLRoundTrip(t *testing.T) {
	host := rapid.Custom(func(t *rapid.T) messaging.Host {
		h := messaging.Host{
			Hostname: rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9.%_-]{1,20}`), rapid.SampledFrom([]string{"::1", "fe80::1%eth0", "2001:db8::ffff"})).Draw(t, "hostname"),
			Port:     rapid.IntRange(0, 65535).Draw(t, "port"),
		}
		if h.HasUsername = rapid.Bool().Draw(t, "has username"); h.HasUsername {
			h.Username = rapid.String().Draw(t, "username")
			if h.HasPassword = rapid.Bool().Draw(t, "has password"); h.HasPassword {
				h.Password = "***"
			}
		}
		return h
	})
	option := rapid.Custom(func(t *rapid.T) messaging.QueryOption {
		return messaging.QueryOption{Name: rapid.String().Draw(t, "name"), Value: rapid.StringN(1, -1, -1).Draw(t, "value")}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := &messaging.URL{
			Scheme: rapid.StringMatching(`[a-z][a-z0-9+.-]{0,8}`).Draw(t, "scheme"),
			Hosts:  rapid.SliceOfN(host, 1, 3).Draw(t, "hosts"),
			Query:  rapid.SliceOfNDistinct(option, 1, 3, func(o messaging.QueryOption) string { return o.Name }).Draw(t, "query"),
		}
		if want.HasVirtualHost = rapid.Bool().Draw(t, "has virtual host"); want.HasVirtualHost {
			want.VirtualHost = rapid.String().Draw(t, "virtual host")
		}
		text := want.String()
		got, err := messaging.ParseURL(text)
		if err != nil {
			t.Fatalf("parsing %q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	})
}

func FuzzParseURL(f *testing.F) {
	for _, tt := range urlTests {
		f.Add(tt.url)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := messaging.ParseURL(s)
		if err != nil {
			if !errors.Is(err, messaging.ErrInvalidURL) {
				t.Fatalf("error %v is not ErrInvalidURL", err)
			}
			return
		}
		text := u.String()
		again, err := messaging.ParseURL(text)
		if err != nil {
			t.Fatalf("%q is printed as %q, which is not parsed: %v", s, text, err)
		}
		if got := again.String(); got != text {
			t.Fatalf("%q is printed as %q and then as %q", s, text, got)
		}
		if j, err := json.Marshal(u); err != nil || !json.Valid(j) {
			t.Fatalf("JSON of %q: %s, %v", s, j, err)
		}
	})
}

func TestOptionReader(t *testing.T) {
	u, err := messaging.ParseURL("fake://?flag=Yes&off=0&count=-3&ratio=1.5e3&wait=0.25&zero=0&text=a+b&mode=quorum")
	if err != nil {
		t.Fatal(err)
	}
	o := u.Options()
	got := []any{
		o.Bool("flag", false), o.Bool("off", true), o.Bool("other_flag", true),
		o.Int("count", 1), o.Int("other_count", 7),
		o.Float("ratio", 1), o.Float("other_ratio", 0.5),
		o.Seconds("wait", time.Hour), o.Seconds("zero", time.Hour), o.Seconds("other_wait", time.Minute),
		o.String("text", "x"), o.String("other_text", "x"),
		o.Enum("mode", "classic", "classic", "quorum"), o.Enum("other_mode", "classic", "classic", "quorum"),
	}
	want := []any{true, false, true, -3, 7, 1500.0, 0.5, 250 * time.Millisecond, time.Duration(0), time.Minute, "a b", "x", "quorum", "classic"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if err := o.Err(); err != nil {
		t.Errorf("Err() = %v", err)
	}
}

func TestOptionReaderErrors(t *testing.T) {
	tests := []struct{ name, query, want string }{
		{"bool", "flag=maybe", `option "flag" must be true or false, not "maybe"`},
		{"bool given twice", "flag=1&flag=1", `option "flag" must be true or false, not "1,1"`},
		{"int", "count=1.5", `option "count" must be an integer, not "1.5"`},
		{"int out of range", "count=9223372036854775808", `option "count" must be an integer, not "9223372036854775808"`},
		{"float", "ratio=NaN", `option "ratio" must be a number, not "NaN"`},
		{"seconds", "wait=5s", `option "wait" must be a number of seconds, not "5s"`},
		{"seconds below zero", "wait=-1", `option "wait" must be a number of seconds, not "-1"`},
		{"seconds out of range", "wait=1e10", `option "wait" must be a number of seconds, not "1e10"`},
		{"seconds not a number", "wait=nan", `option "wait" must be a number of seconds, not "nan"`},
		{"enum", "mode=other", `option "mode" must be one of a, b, not "other"`},
		{"unknown", "cuont=1", `unknown option "cuont" (known are count, flag, mode, ratio, wait)`},
		{"all at once", "x=1&flag=2&y=3", `option "flag" must be true or false, not "2"; ` +
			`unknown option "x" (known are count, flag, mode, ratio, wait); unknown option "y" (known are count, flag, mode, ratio, wait)`},
		{"a reason of the driver", "count=0", `option "count" must be at least 1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := messaging.ParseURL("fake://?" + tt.query)
			if err != nil {
				t.Fatal(err)
			}
			o := u.Options()
			got := []any{o.Bool("flag", true), o.Float("ratio", 2.5), o.Seconds("wait", time.Minute), o.Enum("mode", "a", "a", "b")}
			if diff := cmp.Diff([]any{true, 2.5, time.Minute, "a"}, got); diff != "" {
				t.Errorf("a malformed option is not its default (-want +got):\n%s", diff)
			}
			if o.Int("count", 1) < 1 {
				o.Reject("count", "must be at least 1")
			}
			err = o.Err()
			if !errors.Is(err, messaging.ErrInvalidURL) {
				t.Fatalf("Err() = %v, want ErrInvalidURL", err)
			}
			if got, want := err.Error(), "invalid transport URL: "+tt.want; got != want {
				t.Errorf("Err() = %q, want %q", got, want)
			}
		})
	}
}

func TestOptionReaderHidesSecrets(t *testing.T) {
	u, err := messaging.ParseURL("fake://?password_retries=hunter2")
	if err != nil {
		t.Fatal(err)
	}
	o := u.Options()
	o.Int("password_retries", 1)
	if err := o.Err(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Err() = %v, want an error without the value", err)
	}
	if err := u.Options().Err(); err == nil || !strings.Contains(err.Error(), "there are none") {
		t.Errorf("Err() with no option known = %v", err)
	}
}

func ExampleParseURL() {
	u, err := messaging.ParseURL("rabbit://guest:secret@host1:5672,[::1]/my%20vhost?amqp_durable_queues=true")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(u)
	fmt.Println(u.VirtualHost)
	for _, h := range u.Hosts {
		fmt.Println(h.Hostname, h.Port, h.HasPassword)
	}

	options := u.Options()
	durable := options.Bool("amqp_durable_queues", false)
	ttl := options.Seconds("rabbit_transient_queues_ttl", 30*time.Minute)
	fmt.Println(durable, ttl, options.Err())
	// Output:
	// rabbit://guest:***@host1:5672,[::1]/my%20vhost?amqp_durable_queues=true
	// my vhost
	// host1 5672 true
	// ::1 0 false
	// true 30m0s <nil>
}
