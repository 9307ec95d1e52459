package notify

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/patchbay-go/patchbay/internal/jsontext"
	"github.com/patchbay-go/patchbay/messaging"
)

// Filter says which notifications an Endpoint wants. Its texts are regular
// expressions of package regexp, which must match at the beginning, as with
// Python's re.match: "compute" matches "compute.host1" and not "my.compute". An
// empty one matches anything. The zero value lets everything through.
//
// Only texts match: a member that is missing, or is a number, say, does not.
type Filter struct {
	PublisherID string
	EventType   string
	Context     map[string]string // by the entries' keys
	Metadata    map[string]string // by "message_id" and "timestamp"
	Payload     map[string]string // by the members of the payload, an object
}

// matcher is a compiled Filter.
type matcher struct {
	publisherID, eventType     *regexp.Regexp // nil: anything
	context, metadata, payload []condition
}

// condition is what a member must match.
type condition struct {
	key     string
	pattern *regexp.Regexp
}

// compile returns the matcher, or says which expression is wrong.
func (f *Filter) compile() (m matcher, err error) {
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		if key != "message_id" && key != "timestamp" {
			return m, fmt.Errorf("filter: there is no metadata %.100q, only message_id and timestamp", key)
		}
	}
	if m.publisherID, err = ifAny("publisher id", f.PublisherID); err != nil {
		return m, err
	}
	if m.eventType, err = ifAny("event type", f.EventType); err != nil {
		return m, err
	}
	for _, part := range [...]struct {
		what string
		from map[string]string
		to   *[]condition
	}{{"context", f.Context, &m.context}, {"metadata", f.Metadata, &m.metadata}, {"payload", f.Payload, &m.payload}} {
		for _, key := range slices.Sorted(maps.Keys(part.from)) {
			pattern, err := anchored(fmt.Sprintf("%s %.100q", part.what, key), part.from[key])
			if err != nil {
				return m, err
			}
			*part.to = append(*part.to, condition{key, pattern})
		}
	}
	return m, nil
}

// ifAny is anchored for an expression that may be missing. Of a member that a map
// names, an empty one says that it must be there.
func ifAny(what, expression string) (*regexp.Regexp, error) {
	if expression == "" {
		return nil, nil
	}
	return anchored(what, expression)
}

func anchored(what, expression string) (pattern *regexp.Regexp, err error) {
	if _, err = regexp.Compile(expression); err == nil { // by itself: a bracket of it could end the group
		pattern, err = regexp.Compile(`\A(?:` + expression + `)`)
	}
	if err != nil {
		return nil, fmt.Errorf("filter of %s: %w", what, err)
	}
	return pattern, nil
}

// matches reports whether the filter lets r through.
func (m *matcher) matches(r *received) bool {
	return isMatch(m.publisherID, r.publisherID) && isMatch(m.eventType, r.eventType) &&
		all(m.context, func(key string) json.RawMessage { return contextValue(r.Context, key) }) &&
		all(m.metadata, func(key string) json.RawMessage {
			if key == "timestamp" {
				return r.at
			}
			return r.id
		}) &&
		(len(m.payload) == 0 || matchMembers(m.payload, r.payload))
}

func all(conditions []condition, value func(key string) json.RawMessage) bool {
	for _, c := range conditions {
		if !isMatch(c.pattern, value(c.key)) {
			return false
		}
	}
	return true
}

func contextValue(entries []messaging.ContextValue, key string) json.RawMessage {
	for _, e := range entries {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

// matchMembers looks at the object once. Of members with the same name the last
// counts.
func matchMembers(conditions []condition, object json.RawMessage) bool {
	values := make(map[string]json.RawMessage, len(conditions))
	for _, c := range conditions {
		values[c.key] = nil
	}
	jsontext.Members(object, func(name string, value json.RawMessage) {
		if _, wanted := values[name]; wanted {
			values[name] = value
		}
	})
	return all(conditions, func(key string) json.RawMessage { return values[key] })
}

// isMatch reports whether value is a text that matches.
func isMatch(pattern *regexp.Regexp, value json.RawMessage) bool {
	switch {
	case pattern == nil:
		return true
	case len(value) == 0 || value[0] != '"':
		return false
	}
	return pattern.MatchString(jsontext.Text(value))
}
