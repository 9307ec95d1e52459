package interop_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/osloconf"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// confFile makes a configuration file.
func confFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "service.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestConfigurationFile: a Python and a Go service that were given the same file reach
// each other with nothing else set, and a peer that was not given it does not.
func TestConfigurationFile(t *testing.T) {
	t.Parallel()
	url := vhost(t)
	file := confFile(t, `[DEFAULT]
transport_url = `+url+`
control_exchange = cinder
rpc_response_timeout = 45

[oslo_messaging_rabbit]
rabbit_quorum_queue = true
heartbeat_timeout_threshold = 20

[oslo_messaging_notifications]
driver = messagingv2
topics = volumes
`)
	py := startPeer(t, "--config-file", file)
	conf, err := osloconf.Read([]string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(conf.Notes) > 0 {
		t.Errorf("notes %v", conf.Notes)
	}
	golang, err := conf.Open(t.Context(), messaging.Registry{"rabbit": rabbit.Open}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = golang.Close(context.WithoutCancel(t.Context())) })
	py.serve(t, "", pyTopic, "py1", false)
	startServiceOn(t, golang, goTopic, "go1")

	var answer string
	client := rpc.NewClient(golang, messaging.Target{Topic: pyTopic}, conf.ClientOptions())
	if err := client.Call(t.Context(), "whoami", nil, &answer); err != nil || answer != "py1" {
		t.Errorf("from Go: %q, %v", answer, err)
	}
	if got := (pyClient{py, ""}).send(t, request{topic: goTopic, method: "whoami"}); got.result != `"go1"` {
		t.Errorf("from Python: %+v", got)
	}
	bare := goClient{open(t, url)}
	if got := bare.send(t, request{topic: pyTopic, method: "whoami", mandatory: true}); got.kind == "ok" {
		t.Errorf("a client of another control_exchange: %+v", got)
	}

	// A listener of a third service hears those of several exchanges, as ceilometer does.
	quorum := url + "?rabbit_quorum_queue=true"
	both := listenInGo(t, quorum, listening{exchanges: []string{"cinder", "nova"}, topics: []string{"volumes"}, pool: "ceilometer"})
	pyPublisher{py, ""}.publish(t, publishing{priority: "info", publisher: "cinder", event: "e", payload: "{}", topics: []string{"volumes"}})
	goPublisher{open(t, quorum+"&control_exchange=nova")}.publish(t, publishing{priority: "info", publisher: "nova", event: "e", payload: "{}", topics: []string{"volumes"}})
	if got, want := publishers(both.await(t, 2)), []string{"cinder", "nova"}; !slices.Equal(got, want) {
		t.Errorf("notifications are from %q, want %q", got, want)
	}

	// All exchanges of a virtual host share the queue of a topic and priority, where these wait, too.
	audience := py.hear(t, "", listening{topics: []string{"volumes"}})
	notifier, err := conf.Notifier("volume.go1", golang, nil)
	if err == nil {
		err = notifier.Info(t.Context(), "volume.create.end", map[string]string{"id": "v-1"})
	}
	if err != nil {
		t.Fatal(err)
	}
	got := audience.await(t, 3)
	if want := []string{"cinder", "nova", "volume.go1"}; !slices.Equal(publishers(got), want) {
		t.Errorf("Python heard of %q, want %q", publishers(got), want)
	}
	for _, h := range got { // handled at once, in any order
		if want := map[bool]string{true: `{"id": "v-1"}`, false: "{}"}[h.publisher == "volume.go1"]; h.payload != want {
			t.Errorf("Python heard %+v, want the payload %s", h, want)
		}
	}
}

// publishers returns who published, sorted.
func publishers(all []heard) (names []string) {
	for _, h := range all {
		names = append(names, h.publisher)
	}
	slices.Sort(names)
	return names
}

// TestConfigurationValues: both languages make the same of a file.
func TestConfigurationValues(t *testing.T) {
	t.Parallel()
	p := sharedPeer(t)
	for name, text := range map[string]string{
		"empty": "",
		"operator's": `# a comment
[DEFAULT]
debug = true
my_ip=10.0.0.5
transport_url = rabbit://nova:pa%24$$w0rd@$my_ip:5671,nova:pa\$w0rd@${my_ip}/nova
control_exchange = 'nova'
rpc_response_timeout = 180
executor_thread_pool_size: 16
rpc_ping_enabled = Yes

[oslo_messaging_rabbit]
amqp_durable_queues = True
rabbit_quorum_queue = on
rabbit_quorum_queue = 1
rabbit_quorum_delivery_limit = 7
rabbit_transient_queues_ttl=60
heartbeat_timeout_threshold = 30
heartbeat_rate = 5
rabbit_interval_max = 10
kombu_missing_consumer_retry_timeout = 20
kombu_compression = gzip
rabbit_login_method = PLAIN

[oslo_messaging_notifications]
driver = messagingv2
driver = log
topics = notifications,
  versioned_notifications
retry = 3
`,
		"dollars":    "[DEFAULT]\ncontrol_exchange = a$$b\\$c$-d${e\n",
		"references": "[DEFAULT]\ncontrol_exchange = ${rpc_response_timeout}-$oslo_messaging_rabbit.heartbeat_rate-$my_ip\nmy_ip = ::1\n",
		"nested":     "[DEFAULT]\ncontrol_exchange = $my_ip\nmy_ip = x$rpc_response_timeout\nrpc_response_timeout = 9\n",
		"quotes":     "[DEFAULT]\ncontrol_exchange = \"'a'\"\n[oslo_messaging_rabbit]\nhostname = 'b\nprocessname = \"c d\"\n",
		"signs":      "[DEFAULT]\ncontrol_exchange : a = b # c\n",
		"sections":   "[oslo_messaging_rabbit]\nheartbeat_timeout_threshold=1\n[DEFAULT]\nrpc_response_timeout=2\n[oslo_messaging_rabbit]\nheartbeat_timeout_threshold=3\n",
		"manager":    "[oslo_messaging_rabbit]\nuse_queue_manager=true\nhostname=h\nprocessname=p\nrabbit_stream_fanout=yes\nrabbit_qos_prefetch_count=9\nssl=true\nssl_ca_file=/etc/ssl/ca.pem\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := confFile(t, text)
			result := p.must(t, command{Do: "config", Files: []string{file}})
			want, _ := decode(t, result).(map[string]any)
			conf, err := osloconf.Read([]string{file}, nil)
			if err != nil {
				t.Fatal(err)
			}
			compareConfig(t, want, conf)
		})
	}
}

// compareConfig checks that what Python read is in conf, or that conf has a note of
// it, and that what is in conf is what Python read.
func compareConfig(t *testing.T, py map[string]any, conf *osloconf.Config) {
	t.Helper()
	golang := map[string]string{
		"DEFAULT.rpc_response_timeout":        fmt.Sprint(conf.ResponseTimeout.Seconds()),
		"DEFAULT.executor_thread_pool_size":   strconv.Itoa(conf.Workers),
		"DEFAULT.rpc_ping_enabled":            strconv.FormatBool(conf.Ping),
		"DEFAULT.transport_url":               hosts(conf.URL),
		"oslo_messaging_notifications.driver": fmt.Sprint(conf.Notifications.Drivers),
		"oslo_messaging_notifications.topics": fmt.Sprint(conf.Notifications.Topics),
		"oslo_messaging_notifications.retry":  strconv.Itoa(conf.Notifications.Retry),
	}
	for _, o := range conf.URL.Query {
		group := "oslo_messaging_rabbit."
		if o.Name == "control_exchange" {
			group = "DEFAULT."
		}
		golang[group+o.Name] = o.Value
	}
	want := maps.Clone(golang) // what Python did not change is the default, which TestConfigurationOptions compares
	for name, value := range py {
		group, option, _ := strings.Cut(name, ".")
		noted := slices.ContainsFunc(conf.Notes, func(n osloconf.Note) bool { return n.Option == "["+group+"] "+option })
		if _, ok := golang[name]; noted || !ok && slices.Contains(inTransport, option) {
			continue
		}
		want[name] = fmt.Sprint(value)
		if option == "transport_url" {
			u, err := messaging.ParseURL(want[name])
			if err != nil {
				t.Fatal(err)
			}
			want[name] = hosts(u)
		}
		if b, ok := value.(bool); ok && sameBool(golang[name], b) {
			want[name] = golang[name]
		}
	}
	if d := cmp.Diff(want, golang); d != "" {
		t.Errorf("(-Python +Go):\n%s", d)
	}
}

// inTransport are the options that become those of messaging.Options.
var inTransport = []string{"rabbit_interval_max", "kombu_missing_consumer_retry_timeout", "rabbit_retry_interval", "conn_pool_ttl"}

func hosts(u *messaging.URL) string { return fmt.Sprintf("%q %+v", u.VirtualHost, hostList(u)) }

// hostList is without the types that hide a password.
func hostList(u *messaging.URL) (all [][4]string) {
	for _, h := range u.Hosts {
		all = append(all, [4]string{h.Hostname, strconv.Itoa(h.Port), h.Username, h.Password})
	}
	return all
}

func sameBool(text string, want bool) bool {
	return slices.Contains(map[bool][]string{true: {"true", "1", "on", "yes"}, false: {"false", "0", "off", "no"}}[want], strings.ToLower(text))
}

// TestConfigurationOptions: every option that oslo.messaging has is known here, with
// the same default value; so none is ignored silently.
func TestConfigurationOptions(t *testing.T) {
	t.Parallel()
	all, _ := decode(t, sharedPeer(t).must(t, command{Do: "options"})).(map[string]any)
	if len(all) < 50 {
		t.Errorf("there are %d options", len(all))
	}
	for name, def := range all {
		group, option, _ := strings.Cut(name, ".")
		if name == "DEFAULT.control_exchange" { // which shows the others' values; its own is in TestConfigurationFile
			continue
		}
		reference := "[DEFAULT]\ncontrol_exchange = <${" + name + "}>\n"
		assigned := "[" + group + "]\n" + option + " =\n"
		if group == "oslo_messaging_kafka" {
			conf, err := osloconf.Read([]string{confFile(t, "[DEFAULT]\ntransport_url = rabbit://\n"+assigned)}, nil)
			if err != nil || len(conf.Notes) != 1 {
				t.Errorf("%s: %v, %v; want a note: there is no driver for it", name, conf, err)
			}
			continue
		}
		conf, err := osloconf.Read([]string{confFile(t, reference)}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := conf.URL.Query[0].Value
		if want := "<" + pythonText(def) + ">"; !strings.EqualFold(got, want) && option != "hostname" && option != "processname" {
			t.Errorf("%s is %s by default, in Python %s", name, got, want)
		}
		conf, err = osloconf.Read([]string{confFile(t, assigned)}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, n := range conf.Notes {
			if strings.Contains(n.Reason, "unknown") {
				t.Errorf("%s", n)
			}
		}
	}
}

// pythonText is a default value as a reference to it reads here.
func pythonText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case []any:
		var all []string
		for _, item := range v {
			all = append(all, fmt.Sprint(item))
		}
		return strings.Join(all, ",")
	}
	return fmt.Sprint(value)
}
