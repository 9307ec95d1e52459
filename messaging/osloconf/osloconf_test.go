package osloconf_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/osloconf"
)

// write makes a file and returns its name.
func write(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, text string, env map[string]string) *osloconf.Config {
	t.Helper()
	c, err := osloconf.Read([]string{write(t, "nova.conf", text)}, &osloconf.Options{Env: func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// query returns the options of a URL.
func query(u *messaging.URL) map[string]string {
	all := map[string]string{}
	for _, o := range u.Query {
		all[o.Name] = o.Value
	}
	return all
}

// notes returns the notes without where they are from.
func notes(c *osloconf.Config) []string {
	var all []string
	for _, n := range c.Notes {
		all = append(all, n.Option+" "+n.Reason)
	}
	return all
}

const novaConf = `
# A comment, and an option of nobody's business:
[DEFAULT]
debug = true
my_ip=10.0.0.5
transport_url = rabbit://nova:pa$$w0rd@$my_ip:5671,nova:pa\$w0rd@${other_ip}/nova?rabbit_quorum_queue=false
other_ip: 10.0.0.6
control_exchange = 'nova'
rpc_response_timeout = 180
executor_thread_pool_size = 16
rpc_ping_enabled = Yes

[database]
connection = mysql://s3cret

[oslo_messaging_rabbit]
amqp_durable_queues = True
rabbit_quorum_queue = true
rabbit_quorum_delivery_limit =
heartbeat_timeout_threshold = 30
heartbeat_rate = 3
rabbit_interval_max = 10
kombu_missing_consumer_retry_timeout = 20
rpc_conn_pool_size = 100
kombu_compression = gzip
ssl_ca_file = /etc/ssl/ca.pem
rabbit_use_ssl = true
rabbit_quorum = true
rabbit-login-method = PLAIN

[OSLO_MESSAGING_NOTIFICATIONS]
driver = messagingv2
driver = log
topics = notifications,
  versioned_notifications
retry = 3

[oslo_messaging_metrics]
metrics_enabled = true
`

func TestRead(t *testing.T) {
	t.Parallel()
	c := read(t, novaConf, nil)
	if got := fmt.Sprintf("%v %+v", c.URL, c); strings.Contains(got, "w0rd") {
		t.Errorf("a password is shown: %s", got)
	}
	wantHosts := []messaging.Host{
		{Hostname: "10.0.0.5", Port: 5671, Username: "nova", Password: "pa$w0rd", HasUsername: true, HasPassword: true},
		{Hostname: "10.0.0.6", Username: "nova", Password: "pa$w0rd", HasUsername: true, HasPassword: true},
	}
	if d := cmp.Diff(wantHosts, c.URL.Hosts); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
	want := map[string]string{
		"control_exchange": "nova", "amqp_durable_queues": "True", "rabbit_quorum_queue": "false", "heartbeat_timeout_threshold": "30",
	}
	if d := cmp.Diff(want, query(c.URL)); d != "" {
		t.Errorf("options (-want +got):\n%s", d)
	}
	if c.ResponseTimeout != 180*time.Second || c.Workers != 16 || !c.Ping {
		t.Errorf("%v, %d workers, ping %v", c.ResponseTimeout, c.Workers, c.Ping)
	}
	wantN := osloconf.Notifications{
		Drivers: []string{"messagingv2", "log"}, Topics: []string{"notifications", "versioned_notifications"}, Retry: 3,
	}
	if d := cmp.Diff(wantN, c.Notifications); d != "" {
		t.Errorf("notifications (-want +got):\n%s", d)
	}
	wantNotes := []string{
		"[oslo_messaging_metrics] metrics_enabled has no effect: use package messaging/telemetry",
		"[oslo_messaging_rabbit] heartbeat_rate has no effect: heartbeats are sent twice within heartbeat_timeout_threshold",
		"[oslo_messaging_rabbit] kombu_compression has no effect: compressed messages are read, and none is compressed, which every peer reads",
		"[oslo_messaging_rabbit] rabbit-login-method is unknown and has no effect; did you mean rabbit_login_method?",
		"[oslo_messaging_rabbit] rabbit_quorum is unknown and has no effect; did you mean rabbit_quorum_queue?",
		"[oslo_messaging_rabbit] rabbit_use_ssl is obsolete and has no effect; instead there is ssl",
		"[oslo_messaging_rabbit] rpc_conn_pool_size has no effect: connections are shared here; see messaging.Options.MaxConns",
	}
	if d := cmp.Diff(wantNotes, notes(c)); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
	if where := c.Notes[0].Where; !strings.HasSuffix(where, "nova.conf:39") {
		t.Errorf("the first note is about %q", where)
	}
	if _, err := c.Open(t.Context(), messaging.Registry{"rabbit": rabbit.Open}, nil); err != nil {
		t.Error(err)
	}
	if o := c.ClientOptions(); o.Timeout != 180*time.Second {
		t.Errorf("client options %+v", o)
	}
	if o := c.ServerOptions(); !o.Ping || o.Executor.Concurrency() != 16 {
		t.Errorf("server options %+v", o)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := osloconf.Read(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.URL.String() != "rabbit://" || c.ResponseTimeout != time.Minute || c.Workers != 64 || c.Ping {
		t.Errorf("%v %+v", c.URL, c)
	}
	if d := cmp.Diff([]string{"[DEFAULT] transport_url is missing: the broker is looked for on this machine"}, notes(c)); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
	if d := cmp.Diff(osloconf.Notifications{Topics: []string{"notifications"}, Retry: -1}, c.Notifications); d != "" {
		t.Errorf("notifications (-want +got):\n%s", d)
	}
}

// TestEmptyURL is worth a note: who wrote it meant a broker elsewhere, and Python starts
// nothing with it.
func TestEmptyURL(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", `""`, `"`} {
		c := read(t, "[DEFAULT]\ntransport_url = "+value+"\n", nil)
		want := []string{"[DEFAULT] transport_url is empty: the broker is looked for on this machine"}
		if d := cmp.Diff(want, notes(c)); d != "" {
			t.Errorf("%q: notes (-want +got):\n%s", value, d)
		}
		if !strings.HasSuffix(c.Notes[0].Where, "nova.conf:2") {
			t.Errorf("%q: the note is about %s", value, c.Notes[0].Where)
		}
	}
}

// TestLaterFilesGoFirst, and the environment before all; values of an option that has
// many add up.
func TestLaterFilesGoFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"20-b.conf": "[DEFAULT]\ncontrol_exchange=b\n[oslo_messaging_notifications]\ndriver=log\n",
		"10-a.conf": "[DEFAULT]\ncontrol_exchange=a\ntransport_url=rabbit://a\nrpc_response_timeout=1\nrpc_response_timeout=2\n[oslo_messaging_notifications]\ndriver=noop",
		"30-c.txt":  "[DEFAULT]\ncontrol_exchange=c\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := write(t, "first.conf", "[DEFAULT]\ncontrol_exchange=first\nexecutor_thread_pool_size=7\n[oslo_messaging_notifications]\ndriver=messaging\n")
	env := map[string]string{"OS_DEFAULT__TRANSPORT_URL": "rabbit://env", "OS_OSLO_MESSAGING_RABBIT__HEARTBEAT_RATE": "9"}
	c, err := osloconf.Read([]string{first, dir}, &osloconf.Options{Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.URL.String(); got != "rabbit://env?control_exchange=b" || c.ResponseTimeout != 2*time.Second || c.Workers != 7 {
		t.Errorf("%s %+v", got, c)
	}
	if d := cmp.Diff([]string{"messaging", "noop", "log"}, c.Notifications.Drivers); d != "" {
		t.Errorf("drivers (-want +got):\n%s", d)
	}
	if len(c.Notes) != 1 || c.Notes[0].Where != "environment variable OS_OSLO_MESSAGING_RABBIT__HEARTBEAT_RATE" {
		t.Errorf("notes %v", c.Notes)
	}
}

// TestHiddenFiles of a directory are not read, as with Python's glob: editors and
// packages leave them there.
func TestHiddenFiles(t *testing.T) {
	t.Parallel()
	hidden := write(t, ".nova.conf", "[DEFAULT]\ntransport_url=rabbit://hidden\n")
	c, err := osloconf.Read([]string{filepath.Dir(hidden)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.URL.String(); got != "rabbit://" {
		t.Errorf("the URL is %s", got)
	}
}

// TestMissingSign: the colon of a URL separates, where the sign before it is missing.
func TestMissingSign(t *testing.T) {
	t.Parallel()
	c := read(t, "[DEFAULT]\ntransport_url rabbit://u:s3cret@h\n[database]\na b: c\n", nil)
	want := []string{
		"[DEFAULT] transport_url has no effect: there is a blank in its name, perhaps a = is missing",
		"[DEFAULT] transport_url is missing: the broker is looked for on this machine",
	}
	if d := cmp.Diff(want, notes(c)); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
}

// TestMisspelled: most of [DEFAULT] belongs to others, but what looks like one of ours
// was perhaps meant to be.
func TestMisspelled(t *testing.T) {
	t.Parallel()
	c := read(t, "[DEFAULT]\ntransport_ulr = rabbit://h\ncontrol-exchange = nova\nrpc_response_max_timeout = 600\ndebug = true\nhost = h\n", nil)
	want := []string{
		"[DEFAULT] control-exchange is perhaps misspelled: it has no effect on messages; did you mean control_exchange?",
		"[DEFAULT] transport_ulr is perhaps misspelled: it has no effect on messages; did you mean transport_url?",
		"[DEFAULT] transport_url is missing: the broker is looked for on this machine",
	}
	if d := cmp.Diff(want, notes(c)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestOldNames are those that oslo.messaging still reads; the new one goes first.
func TestOldNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"rpc_thread_pool_size = 5":                                5,
		"executor_thread_pool_size = 6\nrpc_thread_pool_size = 5": 6,
	} {
		if c := read(t, "[DEFAULT]\ntransport_url = rabbit://\n"+text, nil); c.Workers != want || len(c.Notes) > 0 {
			t.Errorf("%q: %d workers, notes %q", text, c.Workers, c.Notes)
		}
	}
}

// TestOldNamesInLaterFiles: a later file goes first, whichever name it has.
func TestOldNamesInLaterFiles(t *testing.T) {
	t.Parallel()
	c, err := osloconf.Read([]string{
		write(t, "a.conf", "[DEFAULT]\nexecutor_thread_pool_size = 6\n"),
		write(t, "b.conf", "[DEFAULT]\nrpc_thread_pool_size = 5\n"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Workers != 5 {
		t.Errorf("%d workers, want 5", c.Workers)
	}
}

// TestRetryInterval: waits may be as long as an operator says that they begin.
func TestRetryInterval(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]time.Duration{
		"":                           {100 * time.Millisecond, 5 * time.Second},
		"rabbit_retry_interval = 2":  {2 * time.Second, 5 * time.Second},
		"rabbit_retry_interval = 10": {10 * time.Second, 30 * time.Second},
		"rabbit_retry_interval = 40": {40 * time.Second, 40 * time.Second},
		"rabbit_retry_interval = 10\nrabbit_interval_max = 20": {10 * time.Second, 20 * time.Second},
	} {
		var got [2]time.Duration
		open := func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
			got = [2]time.Duration{o.BackoffMin, o.BackoffMax}
			return rabbit.Open(u, o)
		}
		c := read(t, "[oslo_messaging_rabbit]\n"+text+"\n", nil)
		if _, err := c.Open(t.Context(), messaging.Registry{"rabbit": open}, nil); err != nil || got != want {
			t.Errorf("%q: waits of %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	c := read(t, "[DEFAULT]\ntransport_url=rabbit://\n[oslo_messaging_rabbit]\nssl=true\nssl_version=TLSv1_2\nssl_cert_file=c.pem\n", nil)
	if d := cmp.Diff(map[string]string{"ssl": "true", "ssl_cert_file": "c.pem"}, query(c.URL)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if n := notes(c); len(n) != 1 || !strings.Contains(n[0], "verifies nothing") {
		t.Errorf("notes %q", n)
	}
	c = read(t, "[DEFAULT]\ntransport_url=rabbit+tls://h\n[oslo_messaging_rabbit]\nssl_ca_file=c.pem\n", nil)
	if d := cmp.Diff(map[string]string{"ssl_ca_file": "c.pem"}, query(c.URL)); d != "" {
		t.Errorf("rabbit+tls (-want +got):\n%s", d)
	}
}

// TestVersionWithoutTLS: a version of TLS that is not spoken here harms nobody who
// speaks none.
func TestVersionWithoutTLS(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"transport_url=rabbit://\n", "transport_url=fake://\n", "transport_url=rabbit://h/?ssl=false\n[oslo_messaging_rabbit]\nssl=true\n"} {
		text = "[DEFAULT]\n" + text + "[oslo_messaging_rabbit]\nssl_version=TLSv1\n"
		if _, err := osloconf.Read([]string{write(t, "nova.conf", text)}, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, url := range []string{"rabbit+tls://h", "rabbit://h/?ssl=1"} {
		text := "[DEFAULT]\ntransport_url=" + url + "\n[oslo_messaging_rabbit]\nssl_version=TLSv1\n"
		if _, err := osloconf.Read([]string{write(t, "nova.conf", text)}, nil); !errors.Is(err, osloconf.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOtherTransports(t *testing.T) {
	t.Parallel()
	c := read(t, "[DEFAULT]\ntransport_url=KOMBU://h/\n[oslo_messaging_notifications]\ntransport_url=fake://\n[oslo_messaging_rabbit]\namqp_auto_delete=1\n", nil)
	if got := c.URL.String(); got != "rabbit://h/?amqp_auto_delete=1" {
		t.Errorf("kombu became %s", got)
	}
	reg := messaging.Registry{"fake": fake.New(nil).Open, "rabbit": rabbit.Open}
	tr, err := c.OpenNotifications(t.Context(), reg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close(t.Context())
	if got := tr.URL().String(); got != "fake://" { // to which rabbit's options do not belong
		t.Errorf("notifications go to %s", got)
	}
	c = read(t, "[DEFAULT]\ntransport_url=kafka://h/\n", nil)
	if _, err := c.Open(t.Context(), reg, nil); !errors.Is(err, messaging.ErrInvalidURL) || !strings.Contains(err.Error(), "kafka") {
		t.Errorf("kafka: %v", err)
	}
}

// TestControlExchange: services set theirs in their code, and files go before it.
func TestControlExchange(t *testing.T) {
	t.Parallel()
	opts := &osloconf.Options{ControlExchange: "nova"}
	for text, want := range map[string]string{
		"":                               "rabbit://?control_exchange=nova",
		"[DEFAULT]\ncontrol_exchange=x":  "rabbit://?control_exchange=x",
		"[DEFAULT]\ncontrol_exchange=\n": "rabbit://?control_exchange=nova",
		"[DEFAULT]\ntransport_url=rabbit://h/v?control_exchange=u\ncontrol_exchange=x": "rabbit://h/v?control_exchange=u",
		"[oslo_messaging_rabbit]\nhostname=on-$DEFAULT.control_exchange":               "rabbit://?control_exchange=nova&hostname=on-nova",
	} {
		c, err := osloconf.Read([]string{write(t, "nova.conf", text)}, opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.URL.String(); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	c := read(t, "[DEFAULT]\ntransport_url=fake://\ncontrol_exchange=x\n", nil)
	if n := notes(c); len(n) != 1 || !strings.Contains(n[0], "control_exchange has no effect on the driver fake") {
		t.Errorf("notes %q", n)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"a = 1":                           ":1: an option must be in a section",
		"[DEFAULT\n":                      ":1: a section must end with ]",
		"[]\n":                            ":1: a section needs a name",
		"[DEFAULT]\ntransport_url s3cret": ":2: there is neither a = nor a :",
		"[DEFAULT]\n= s3cret":             ":2: an option needs a name",
		"[DEFAULT]\n\n  s3cret":           ":3: a line that begins with a blank continues nothing",
		"[DEFAULT]\n# x\n  s3cret":        ":3: a line that begins",
		"[DEFAULT]\ntransport_url = rabbit://u:s3cret@h:x":  "[DEFAULT] transport_url: invalid transport URL",
		"[DEFAULT]\ntransport_url = rabbit://u:pa$s3cret@h": ":2: a dollar sign in it refers to an option that is not set",
		"[DEFAULT]\nrpc_response_timeout = soon":            `:2: [DEFAULT] rpc_response_timeout must be a number of seconds, not "soon"`,
		"[DEFAULT]\nrpc_response_timeout = -1":              `rpc_response_timeout must be`,
		"[DEFAULT]\nexecutor_thread_pool_size = 1.5":        `must be an integer`,
		"[DEFAULT]\nrpc_ping_enabled = rabbit://u:s3cret@h": `must be true or false, not "***"`,
		"[DEFAULT]\nrpc_ping_enabled = perhaps":             `must be true or false`,
		"[DEFAULT]\ncontrol_exchange = $a\na = ${b}\nb=$a":  `a reference leads in a circle`,
		"[oslo_messaging_rabbit]\nssl=1\nssl_version=TLSv1": `ssl_version must be empty`,
		bomb(): `too many references`,
	} {
		_, err := osloconf.Read([]string{write(t, "bad.conf", text)}, nil)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: error %v, want one that says %q and no secret", text, err, says)
		} else if !errors.Is(err, osloconf.ErrInvalid) && !errors.Is(err, messaging.ErrInvalidURL) {
			t.Errorf("%q: error %v is of no kind", text, err)
		}
	}
	if _, err := osloconf.Read([]string{"/nowhere.conf"}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	c := read(t, "[oslo_messaging_rabbit]\nrabbit_login_method=RABBIT-CR-DEMO\n", nil)
	if _, err := c.Open(t.Context(), messaging.Registry{"rabbit": rabbit.Open}, nil); !errors.Is(err, messaging.ErrInvalidURL) {
		t.Errorf("a login method that there is not: %v", err)
	}
}

// bomb is options that each mean the next one ten times.
func bomb() string {
	text := "[DEFAULT]\ncontrol_exchange = $a\n"
	for c := 'a'; c < 'h'; c++ {
		text += fmt.Sprintf("%c = %s\n", c, strings.Repeat(fmt.Sprintf("$%c", c+1), 10))
	}
	return text + "h ="
}

func TestNotifier(t *testing.T) {
	t.Parallel()
	reg := messaging.Registry{"fake": fake.New(nil).Open}
	rules := write(t, "rules.yaml", "g: {log: {accepted_priorities: [error]}}")
	open := func(text string) (*osloconf.Config, *messaging.Transport) {
		c := read(t, "[DEFAULT]\ntransport_url=fake://\n[oslo_messaging_notifications]\n"+text, nil)
		tr, err := c.OpenNotifications(t.Context(), reg, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tr.Close(t.Context()) })
		return c, tr
	}
	for text, logs := range map[string]bool{
		"":                               false,
		"driver=noop":                    false,
		"driver=log":                     true,
		"driver=messagingv2\ndriver=log": true,
		"driver=messaging\nretry=0":      false,
		"driver=routing\nrouting_config=" + rules: true,
	} {
		c, tr := open(text)
		var log strings.Builder
		n, err := c.Notifier("p", tr, slog.New(slog.NewTextHandler(&log, nil)))
		if err == nil {
			err = n.Error(t.Context(), "volume.lost", nil)
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got := strings.Contains(log.String(), "volume.lost"); got != logs || n.Enabled() == (text == "") {
			t.Errorf("%q: logged %v, enabled %v", text, got, n.Enabled())
		}
	}
	for _, text := range []string{"driver=test", "driver=routing", "driver=messagingv3", "driver=rabbit://u:s3cret@h"} {
		c, tr := open(text)
		if _, err := c.Notifier("p", tr, nil); !errors.Is(err, osloconf.ErrInvalid) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDriverTwice: the values of several files add up, and a driver publishes once all
// the same, as in Python.
func TestDriverTwice(t *testing.T) {
	t.Parallel()
	c := read(t, "[DEFAULT]\ntransport_url=fake://\n[oslo_messaging_notifications]\ndriver=log\ndriver=noop\ndriver=log\n", nil)
	var log strings.Builder
	n, err := c.Notifier("p", nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err == nil {
		err = n.Info(t.Context(), "volume.create.end", nil)
	}
	if got := strings.Count(log.String(), "volume.create.end"); err != nil || got != 1 {
		t.Errorf("logged %d times, %v", got, err)
	}
}

// FuzzRead: nothing that a file holds may panic, hang or be shown.
func FuzzRead(f *testing.F) {
	for _, s := range []string{novaConf, "[a]\nb=$b", "[DEFAULT]\na=${", "[DEFAULT]\na='", "[DEFAULT]\na=\"\"\n b", "[x]\n:=", "[DEFAULT]\ntransport_url=$transport_url"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		c, err := osloconf.ReadText(text)
		if err == nil {
			_ = fmt.Sprint(c.URL, c.Notes)
		}
	})
}
