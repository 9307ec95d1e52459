package osloconf

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/internal/spelling"
	"github.com/patchbay-go/patchbay/messaging"
)

// Config is what the files say.
type Config struct {
	// URL is that of the transport, with the options of [oslo_messaging_rabbit] and
	// control_exchange; options of transport_url itself go before those.
	URL *messaging.URL

	ResponseTimeout time.Duration // rpc_response_timeout
	Workers         int           // executor_thread_pool_size
	Ping            bool          // rpc_ping_enabled
	Notifications   Notifications

	// Notes are what of the files has no effect, or another one than in Python,
	// sorted by option.
	Notes []Note

	transport messaging.Options // what options of the files say of it
}

// Notifications are the options of [oslo_messaging_notifications].
type Notifications struct {
	URL           *messaging.URL // nil: Config.URL
	Drivers       []string       // "messagingv2", "messaging", "log", "noop", "routing"; none: nothing is published
	Topics        []string
	Retry         int // -1: until the timeout; 0: none; n: so often
	RoutingConfig string
}

// Note tells of an option that has no effect, or another one.
type Note struct {
	Where  string // file and line, or environment variable
	Option string // "[oslo_messaging_rabbit] heartbeat_rate"
	Reason string
}

// String returns all of it in one line.
func (n Note) String() string { return n.Where + ": " + n.Option + " " + n.Reason }

// Options are the options of Read. Nil means all defaults.
type Options struct {
	// Env looks up environment variables, which go before the files:
	// OS_<GROUP>__<OPTION>, such as OS_DEFAULT__TRANSPORT_URL. os.LookupEnv is
	// what oslo.config does. Default: none are looked up.
	Env func(name string) (string, bool)

	// ControlExchange is control_exchange where the files do not say it. Services of
	// OpenStack set their own in their code, and have no option in their files:
	// "nova", "neutron", "cinder". Default: "openstack", oslo.messaging's.
	ControlExchange string
}

// Read reads files, of which later ones go before earlier ones; a directory stands
// for its *.conf files. Errors match ErrInvalid, messaging.ErrInvalidURL, or say why a
// file could not be read, and hold no password.
func Read(names []string, opts *Options) (*Config, error) {
	if opts == nil {
		opts = &Options{}
	}
	files, err := expand(names)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	var all []option
	for i, file := range files {
		options, err := readFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading configuration: %w", err)
		}
		for j := range options {
			options[j].file = i
		}
		all = append(all, options...)
	}
	return interpret(all, opts)
}

// interpret makes a Config of the options of all files.
func interpret(all []option, opts *Options) (*Config, error) {
	v := &values{options: all, env: opts.Env, defaults: map[string]string{}}
	for group, options := range groups() {
		for name, k := range options {
			v.defaults[group+"."+name] = k.def
		}
	}
	if opts.ControlExchange != "" {
		v.defaults[defaultGroup+".control_exchange"] = opts.ControlExchange
	}
	c := &Config{}
	if err := c.fill(v); err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	c.note(v)
	return c, nil
}

// expand replaces directories.
func expand(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		entries, err := os.ReadDir(name) // sorted by name
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && filepath.Ext(e.Name()) == ".conf" && e.Name()[0] != '.' { // hidden ones are what an editor left
				files = append(files, filepath.Join(name, e.Name()))
			}
		}
	}
	return files, nil
}

func readFile(name string) ([]option, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parse(name, bytes.NewReader(text))
}

// note collects what has no effect.
func (c *Config) note(v *values) {
	options, old, away := groups(), obsolete(), elsewhere()
	seen := map[string]bool{}
	for i := len(v.options) - 1; i >= 0; i-- { // the last one is the one that counts
		o := &v.options[i]
		key := o.group + "." + o.name
		if seen[key] {
			continue
		}
		seen[key] = true
		ours := options[o.group] != nil
		if i := strings.IndexAny(o.name, " \t"); ours && i >= 0 {
			const reason = "has no effect: there is a blank in its name, perhaps a = is missing"
			c.Notes = append(c.Notes, Note{o.where, "[" + o.group + "] " + o.name[:i], reason})
			continue
		}
		k, is := options[o.group][o.name]
		reason := ""
		switch {
		case is && k.effect == none:
			reason = "has no effect: " + k.why
		case is:
		case old[key] != "":
			reason = "is obsolete and has no effect; instead there is " + old[key]
		case away[o.group] != "":
			reason = "has no effect: " + away[o.group]
		case o.group == defaultGroup: // of which most belongs to others
			if meant := misspelled(o.name, options[o.group]); meant != "" {
				reason = "is perhaps misspelled: it has no effect on messages; did you mean " + meant + "?"
			}
		case ours:
			reason = "is unknown and has no effect" + suggestion(o.name, options[o.group])
		}
		if reason != "" {
			c.Notes = append(c.Notes, Note{o.where, "[" + o.group + "] " + o.name, reason})
		}
	}
	for group, all := range options {
		for name, k := range all {
			if _, where, ok := v.environment(group, name); ok && k.effect == none {
				c.Notes = append(c.Notes, Note{where, "[" + group + "] " + name, "has no effect: " + k.why})
			}
		}
	}
	switch f, there, _ := v.one(defaultGroup, "transport_url"); {
	case !there:
		c.Notes = append(c.Notes, Note{"everywhere", "[DEFAULT] transport_url", "is missing: the broker is looked for on this machine"})
	case f.value == "":
		c.Notes = append(c.Notes, Note{f.where, "[DEFAULT] transport_url", "is empty: the broker is looked for on this machine"})
	}
	slices.Reverse(c.Notes)
	slices.SortStableFunc(c.Notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Option, b.Option), cmp.Compare(a.Where, b.Where))
	})
}

// suggestion returns the name that was perhaps meant by an unknown one.
func suggestion(name string, options map[string]known) string {
	best, distance := misspelled(name, options), math.MaxInt
	if best == "" {
		for _, other := range slices.Sorted(maps.Keys(options)) {
			if d := spelling.Distance(name, other); d < distance && (strings.Contains(other, name) || strings.Contains(name, other)) {
				best, distance = other, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// misspelled returns the name that differs from an unknown one by a slip of the pen;
// empty if there is none.
func misspelled(name string, options map[string]known) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	best, distance := "", 3
	for _, other := range slices.Sorted(maps.Keys(options)) {
		if d := spelling.Distance(name, other); d < distance {
			best, distance = other, d
		}
	}
	return best
}
