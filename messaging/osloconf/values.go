package osloconf

import (
	"fmt"
	"strings"
)

// values are the options of all files, and of the environment.
type values struct {
	options  []option // the last goes first
	env      func(name string) (string, bool)
	defaults map[string]string // by group.name: what a reference to an option that is not set means
	followed int               // references, for the present option
}

// found is a value with its references resolved, and where it is from.
type found struct{ value, where string }

// one returns the value of an option that has one.
func (v *values) one(group, name string) (f found, ok bool, err error) {
	v.followed = 0
	return v.lookup(group, name, 0)
}

// nameOf returns the name by which an option is set that has an old one, too. The
// environment decides, then the last file; within each, the new name goes first.
func (v *values) nameOf(group, name, old string) string {
	for _, n := range [...]string{name, old} {
		if _, _, ok := v.environment(group, n); ok {
			return n
		}
	}
	used, file := name, -1
	for i := range v.options {
		if o := &v.options[i]; o.group == group && (o.name == name || o.name == old && o.file > file) {
			used, file = o.name, o.file
		}
	}
	return used
}

// many returns the values of an option that has many, in their order.
func (v *values) many(group, name string) ([]found, error) {
	v.followed = 0
	if raw, where, ok := v.environment(group, name); ok {
		f, err := v.resolve(raw, group, where, 0)
		return []found{f}, err
	}
	var all []found
	for _, o := range v.options {
		if o.group == group && o.name == name {
			f, err := v.resolve(o.value, group, o.where, 0)
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
	}
	return all, nil
}

func (v *values) environment(group, name string) (value, where string, ok bool) {
	if v.env == nil {
		return "", "", false
	}
	variable := "OS_" + strings.ToUpper(group) + "__" + strings.ToUpper(name)
	value, ok = v.env(variable)
	return value, "environment variable " + variable, ok
}

// Bounds of references: how far they lead, and how many there may be in all that one
// option means.
const (
	maxDepth      = 16
	maxReferences = 1000
	maxValue      = 1 << 20 // bytes
)

func (v *values) lookup(group, name string, depth int) (f found, ok bool, err error) {
	if raw, where, ok := v.environment(group, name); ok {
		f, err := v.resolve(raw, group, where, depth)
		return f, true, err
	}
	for i := len(v.options) - 1; i >= 0; i-- {
		if o := &v.options[i]; o.group == group && o.name == name {
			f, err := v.resolve(o.value, group, o.where, depth)
			return f, true, err
		}
	}
	return found{}, false, nil
}

// resolve replaces $name, ${name} and $group.name; $$ and \$ are a dollar sign, and
// one that nothing of that kind follows stays. An error names neither the value nor the
// reference, which may be the end of a password that has a dollar sign in it.
func (v *values) resolve(raw, group, where string, depth int) (found, error) {
	if depth > maxDepth {
		return found{}, fmt.Errorf("%w: %s: a reference leads in a circle", ErrInvalid, where)
	}
	raw = strings.ReplaceAll(raw, `\$`, "$$")
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(raw, "$")
		b.WriteString(before)
		if !ok {
			return found{b.String(), where}, nil
		}
		reference, after := cutReference(rest)
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			raw = rest[1:]
			continue
		case reference == "":
			b.WriteByte('$')
			raw = rest
			continue
		}
		value, err := v.refer(reference, group, where, depth)
		if err != nil {
			return found{}, err
		}
		b.WriteString(value)
		if v.followed++; v.followed > maxReferences || b.Len() > maxValue {
			return found{}, fmt.Errorf("%w: %s: too many references", ErrInvalid, where)
		}
		raw = after
	}
}

// cutReference reads a name, in braces or not; it is empty if there is none.
func cutReference(s string) (name, after string) {
	inner, braced := strings.CutPrefix(s, "{")
	n := 0
	for n < len(inner) && isNameByte(inner[n], n == 0) {
		n++
	}
	if !braced {
		return inner[:n], inner[n:]
	}
	if n < len(inner) && inner[n] == '}' {
		return inner[:n], inner[n+1:]
	}
	return "", s
}

func isNameByte(c byte, first bool) bool {
	return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || !first && (c == '.' || '0' <= c && c <= '9')
}

// refer returns the value of a reference: of an option of the same group, or of the
// group that it names, or of DEFAULT.
func (v *values) refer(reference, group, where string, depth int) (string, error) {
	places := [][2]string{{group, reference}, {defaultGroup, reference}}
	if g, name, ok := strings.Cut(reference, "."); ok {
		places = [][2]string{{normalize(g), name}, {defaultGroup, reference}}
	}
	for _, place := range places {
		f, ok, err := v.lookup(place[0], place[1], depth+1)
		if err != nil {
			return "", err
		}
		if ok {
			return f.value, nil
		}
		if value, ok := v.defaults[place[0]+"."+place[1]]; ok {
			return value, nil
		}
	}
	return "", fmt.Errorf("%w: %s: a dollar sign in it refers to an option that is not set (as itself it is written $$)", ErrInvalid, where)
}
