// Package routing is oslo.messaging's notification driver "routing": rules in a
// YAML file say which driver gets which notification. It is apart from package
// notify so that only who routes links a YAML library.
//
//	group_1:
//	  messaging:
//	    accepted_events: [compute.instance.*, volume.*]
//	    accepted_priorities: [info, error]
//	  log:
//	    accepted_priorities: [critical]
//
// A driver gets a notification when, in some group, its event type matches one of
// accepted_events and its priority one of accepted_priorities; a rule that is not
// there lets everything through. Patterns are those of Python's fnmatch: * and ?
// match any character, dots too, and [abc] or [!abc] one of a set. Priorities match in lower case.
package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/patchbay-go/patchbay/messaging/notify"
)

// ErrInvalidRules says that rules are no YAML, name a driver that there is not, or hold
// what has no meaning.
var ErrInvalidRules = errors.New("invalid routing rules")

// rule is when a driver gets a notification, in one group.
type rule struct {
	driver             string
	events, priorities []*regexp.Regexp // nil: any
}

// router is the driver.
type router struct {
	rules   []rule
	drivers map[string]notify.Driver
}

// ReadFile returns the driver for the rules of a file, which it reads once.
func ReadFile(name string, drivers map[string]notify.Driver) (notify.Driver, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading routing rules: %w", err)
	}
	d, err := Parse(text, drivers)
	if err != nil {
		return nil, fmt.Errorf("reading routing rules from %s: %w", name, err)
	}
	return d, nil
}

// Parse returns the driver for rules, and the drivers that these name. It knows
// nothing that it does not understand: an unknown driver or rule, which
// oslo.messaging ignores, is an error. Errors match ErrInvalidRules.
func Parse(text []byte, drivers map[string]notify.Driver) (notify.Driver, error) {
	var groups map[string]map[string]*struct {
		Events     []string `yaml:"accepted_events"`
		Priorities []string `yaml:"accepted_priorities"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&groups); err != nil && !errors.Is(err, io.EOF) { // which is no rules
		return nil, fmt.Errorf("%w: %w", ErrInvalidRules, err)
	}
	r := &router{drivers: drivers}
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		for _, driver := range slices.Sorted(maps.Keys(groups[group])) {
			accepted := groups[group][driver]
			switch {
			case drivers[driver] == nil:
				return nil, fmt.Errorf("%w: group %q names a driver %q, there are %q",
					ErrInvalidRules, group, driver, slices.Sorted(maps.Keys(drivers)))
			case accepted == nil:
				return nil, fmt.Errorf("%w: driver %q of group %q has no rules: {} lets everything through", ErrInvalidRules, driver, group)
			}
			r.rules = append(r.rules, rule{
				driver: driver, events: patterns(accepted.Events, false), priorities: patterns(accepted.Priorities, true),
			})
		}
	}
	return r, nil
}

// Notify gives n to every driver that a rule accepts it for, once.
func (r *router) Notify(ctx context.Context, n *notify.Notification) error {
	var done []string
	var errs []error
	for _, rule := range r.rules {
		if !slices.Contains(done, rule.driver) && accepts(rule.events, n.EventType) && accepts(rule.priorities, string(n.Priority)) {
			done = append(done, rule.driver)
			errs = append(errs, r.drivers[rule.driver].Notify(ctx, n))
		}
	}
	return errors.Join(errs...)
}

func accepts(patterns []*regexp.Regexp, text string) bool {
	return patterns == nil || slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(text) })
}

// patterns translates fnmatch patterns; none if there is no such rule.
func patterns(globs []string, lower bool) []*regexp.Regexp {
	if globs == nil {
		return nil
	}
	all := []*regexp.Regexp{}
	for _, glob := range globs {
		if lower {
			glob = strings.ToLower(glob)
		}
		all = append(all, regexp.MustCompile(translate(strings.ToValidUTF8(glob, "\ufffd"))))
	}
	return all
}

// translate returns the regular expression of an fnmatch pattern, which every text
// is one.
func translate(glob string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for len(glob) > 0 {
		c, rest := glob[:1], glob[1:]
		switch c {
		case "*":
			b.WriteString(`.*`)
		case "?":
			b.WriteString(`.`)
		case "[":
			set, after, ok := cutSet(rest)
			if ok {
				b.WriteString(set)
				rest = after
			} else {
				b.WriteString(`\[`)
			}
		default:
			i := strings.IndexAny(glob, "*?[")
			if i < 0 {
				i = len(glob)
			}
			b.WriteString(regexp.QuoteMeta(glob[:i]))
			rest = glob[i:]
		}
		glob = rest
	}
	b.WriteString(`\z`)
	return b.String()
}

// cutSet reads a set up to its bracket, which is no part of it at the beginning.
func cutSet(s string) (set, rest string, ok bool) {
	not := ""
	if after, found := strings.CutPrefix(s, "!"); found {
		not, s = "^", after
	}
	end := strings.IndexByte(s[min(1, len(s)):], ']') + 1
	if end < 1 {
		return "", "", false
	}
	inner, rest := s[:end], s[end+1:]
	var b strings.Builder
	for runes := []rune(inner); len(runes) > 0; {
		if len(runes) >= 3 && runes[1] == '-' {
			if runes[0] <= runes[2] { // an empty range is none
				b.WriteString(quoteInSet(runes[0]) + "-" + quoteInSet(runes[2]))
			}
			runes = runes[3:]
			continue
		}
		b.WriteString(quoteInSet(runes[0]))
		runes = runes[1:]
	}
	switch {
	case b.Len() > 0:
		return "[" + not + b.String() + "]", rest, true
	case not != "":
		return ".", rest, true // not one of nothing
	}
	return `[^\x00-\x{10FFFF}]`, rest, true // one of nothing
}

func quoteInSet(r rune) string { return fmt.Sprintf(`\x{%x}`, r) }
