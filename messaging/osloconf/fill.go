package osloconf

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// fill reads every option that has an effect.
func (c *Config) fill(v *values) error {
	r := &reader{values: v}
	c.ResponseTimeout = r.seconds(defaultGroup, "rpc_response_timeout", 60*time.Second)
	c.Workers = r.integer(defaultGroup, r.nameOf(defaultGroup, "executor_thread_pool_size", "rpc_thread_pool_size"), 64)
	c.Ping = r.boolean(defaultGroup, "rpc_ping_enabled")

	c.transport.ConnIdle = r.seconds(rabbitGroup, "conn_pool_ttl", 0)
	c.transport.BackoffMin = r.seconds(rabbitGroup, "rabbit_retry_interval", 0)
	c.transport.BackoffMax = r.seconds(rabbitGroup, "rabbit_interval_max", longest(c.transport.BackoffMin))
	c.transport.ReplyWindow = r.seconds(rabbitGroup, r.nameOf(rabbitGroup, "kombu_missing_consumer_retry_timeout", "kombu_reconnect_timeout"), 0)

	n := &c.Notifications
	n.Retry = r.integer(notificationsGroup, "retry", -1)
	n.RoutingConfig = r.text(notificationsGroup, "routing_config").value
	n.Topics = r.list(notificationsGroup, "topics")
	for _, d := range r.all(notificationsGroup, "driver") {
		if d.value != "" {
			n.Drivers = append(n.Drivers, d.value)
		}
	}
	if r.err != nil {
		return r.err
	}
	if len(n.Topics) == 0 {
		n.Topics = []string{"notifications"}
	}

	var err error
	if c.URL, err = r.url(defaultGroup); err != nil {
		return err
	}
	if c.URL == nil {
		c.URL = &messaging.URL{Scheme: "rabbit"}
	}
	if n.URL, err = r.url(notificationsGroup); err != nil {
		return err
	}
	for _, u := range []*messaging.URL{c.URL, n.URL} {
		if u != nil {
			c.complete(u, r)
		}
	}
	if f := r.text(defaultGroup, "control_exchange"); f.value != "" && driverOf(c.URL) != "rabbit" {
		c.Notes = append(c.Notes, Note{
			f.where, "[" + defaultGroup + "] control_exchange",
			"has no effect on the driver " + driverOf(c.URL) + ": say the exchange in messaging.Target",
		})
	}
	if r.boolean(rabbitGroup, "ssl") && r.text(rabbitGroup, "ssl_ca_file").value == "" {
		c.Notes = append(c.Notes, Note{
			r.text(rabbitGroup, "ssl").where, "[" + rabbitGroup + "] ssl",
			"is without ssl_ca_file: the broker's certificate is verified with the system's roots, where oslo.messaging verifies nothing",
		})
	}
	return r.err
}

// longest returns the longest wait between attempts to connect where the files say only
// the first: 0, for the transport's own, unless that would cut the first one short. Then
// it is Python's.
func longest(first time.Duration) time.Duration {
	if first <= (*messaging.Options)(nil).WithDefaults().BackoffMax {
		return 0
	}
	return max(first, 30*time.Second)
}

func driverOf(u *messaging.URL) string {
	driver, _, _ := strings.Cut(u.Scheme, "+")
	return driver
}

// complete adds to a URL the options that stand beside it.
func (c *Config) complete(u *messaging.URL, r *reader) {
	if u.Scheme == "kombu" { // its other name
		u.Scheme = "rabbit"
	}
	if driverOf(u) != "rabbit" {
		return
	}
	options := rabbitOptions()
	options["control_exchange"] = groups()[defaultGroup]["control_exchange"]
	for _, name := range slices.Sorted(maps.Keys(options)) {
		group := rabbitGroup
		if name == "control_exchange" {
			group = defaultGroup
		}
		f := r.text(group, name)
		if def := r.defaults[group+"."+name]; f.value == "" && def != options[name].def { // Options has another
			f.value = def
		}
		if options[name].effect != inURL || f.value == "" || u.Has(name) {
			continue
		}
		u.Query = append(u.Query, messaging.QueryOption{Name: name, Value: strings.TrimSpace(f.value)})
	}
	if r.isFalse(u, "ssl") { // whose files and version have no effect then
		u.Query = slices.DeleteFunc(u.Query, func(o messaging.QueryOption) bool {
			return strings.HasPrefix(o.Name, "ssl_") && strings.HasSuffix(o.Name, "_file")
		})
	} else {
		r.checkTLS()
	}
}

// reader reads options with their types, and keeps the first error.
type reader struct {
	*values
	err error
}

// text returns a value; it is empty when the option is not set.
func (r *reader) text(group, name string) found {
	f, _, err := r.one(group, name)
	r.fail(err)
	return f
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) all(group, name string) []found {
	fs, err := r.many(group, name)
	r.fail(err)
	return fs
}

// malformed tells of a value that is none.
func (r *reader) malformed(f found, group, name, want string) {
	r.fail(fmt.Errorf("%w: %s: [%s] %s must be %s, not %s", ErrInvalid, f.where, group, name, want, quoted(f.value)))
}

// quoted returns a value for an error. No option that is quoted holds a secret, but a
// URL may stand in the wrong place.
func quoted(value string) string {
	if strings.Contains(value, "@") {
		return `"***"`
	}
	return fmt.Sprintf("%.40q", value)
}

func (r *reader) integer(group, name string, def int) int {
	f := r.text(group, name)
	if strings.TrimSpace(f.value) == "" {
		return def
	}
	n, err := strconv.Atoi(strings.TrimSpace(f.value))
	if err != nil {
		r.malformed(f, group, name, "an integer")
		return def
	}
	return n
}

func (r *reader) seconds(group, name string, def time.Duration) time.Duration {
	f := r.text(group, name)
	if strings.TrimSpace(f.value) == "" {
		return def
	}
	s, err := strconv.ParseFloat(strings.TrimSpace(f.value), 64)
	if err != nil || !(s >= 0 && s < math.MaxInt64/float64(time.Second)) {
		r.malformed(f, group, name, "a number of seconds")
		return def
	}
	return time.Duration(s * float64(time.Second))
}

func (r *reader) boolean(group, name string) bool {
	f := r.text(group, name)
	value, ok := parseBool(f.value)
	if !ok && f.value != "" {
		r.malformed(f, group, name, "true or false")
	}
	return value
}

func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "1", "on", "yes":
		return true, true
	case "false", "0", "off", "no":
		return false, true
	}
	return false, false
}

// isFalse reports whether an option of the URL is absent, or says no.
func (r *reader) isFalse(u *messaging.URL, name string) bool {
	for _, o := range u.Query {
		if o.Name == name {
			value, ok := parseBool(o.Value)
			return ok && !value
		}
	}
	return u.Scheme == "rabbit"
}

// list reads values that commas separate.
func (r *reader) list(group, name string) []string {
	var all []string
	for item := range strings.SplitSeq(strings.TrimRight(strings.TrimSpace(r.text(group, name).value), ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			all = append(all, item)
		}
	}
	return all
}

// url returns the URL of a group, nil if it has none.
func (r *reader) url(group string) (*messaging.URL, error) {
	f := r.text(group, "transport_url")
	if r.err != nil || f.value == "" {
		return nil, r.err
	}
	u, err := messaging.ParseURL(f.value)
	if err != nil {
		return nil, fmt.Errorf("%s: [%s] transport_url: %w", f.where, group, err)
	}
	return u, nil
}

// checkTLS refuses versions of TLS that are not spoken here.
func (r *reader) checkTLS() {
	f := r.text(rabbitGroup, "ssl_version")
	switch strings.ToLower(f.value) {
	case "", "sslv23", "tls", "tlsv1_2", "tlsv1.2", "tlsv1_3", "tlsv1.3":
	default:
		r.malformed(f, rabbitGroup, "ssl_version", "empty: TLS 1.2 and 1.3 are spoken, the best that the broker has")
	}
}
