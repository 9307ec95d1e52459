package jsontext

import (
	"bytes"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Most arguments are a few plain values by name. This file writes and reads structs
// of those, as the rest of the package does, without its machinery.

// shape is what a Codec remembers of a type.
type shape struct {
	special bool    // see isSpecial
	fields  []field // all that the JSON text of a plain struct has; nil: it is not plain
}

// field is one of a plain struct.
type field struct {
	name  string
	index int
	kind  reflect.Kind
}

// shapeOf returns what c knows of t, which is found out once.
func (c *Codec) shapeOf(t reflect.Type) *shape {
	if s, known := c.shapes.Load(t); known {
		return s.(*shape)
	}
	s, _ := c.shapes.LoadOrStore(t, &shape{special: isSpecial(t, map[reflect.Type]bool{}), fields: plainFields(t)})
	return s.(*shape)
}

// plainFields returns the fields of a struct, or of what a pointer to one points to,
// if all are plain: neither the struct nor a field has methods that may change its
// text, and no tag says more than a name.
func plainFields(t reflect.Type) []field {
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct || reflect.PointerTo(t).NumMethod() > 0 {
		return nil
	}
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, tagged := f.Tag.Lookup("json")
		switch {
		case f.Anonymous:
			return nil
		case !f.IsExported() && !tagged:
			continue
		case !tagged || name == "":
			name = f.Name
		}
		switch f.Type {
		case reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int64](), reflect.TypeFor[string]():
		default:
			return nil
		}
		isSame := func(other field) bool { return strings.EqualFold(other.name, name) }
		if !f.IsExported() || !isIdentifier(name) || slices.ContainsFunc(fields, isSame) {
			return nil
		}
		fields = append(fields, field{name: name, index: i, kind: f.Type.Kind()})
	}
	return fields
}

// isIdentifier reports whether a name consists of letters and digits of ASCII.
func isIdentifier(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// appendFields appends the JSON text of a plain struct, and reports whether it could.
func appendFields(b []byte, v reflect.Value, fields []field) ([]byte, bool) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return b, false
		}
		v = v.Elem()
	}
	b = append(b, '{')
	for i := range fields {
		f := &fields[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, f.name...)
		b = append(b, '"', ':')
		switch value := v.Field(f.index); f.kind {
		case reflect.Bool:
			b = strconv.AppendBool(b, value.Bool())
		case reflect.String:
			var ok bool
			if b, ok = appendPlain(b, value.String()); !ok {
				return b, false
			}
		default:
			b = strconv.AppendInt(b, value.Int(), 10)
		}
	}
	return append(b, '}'), true
}

// decodeFields decodes an object into a plain struct, and reports whether it could.
// If not, it may have set some, which decoding in the long way sets too unless it
// fails.
func decodeFields(data []byte, v reflect.Value, fields []field) bool {
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return false
	}
	v = v.Elem()
	data = skipBlanks(data)
	if len(data) == 0 || data[0] != '{' {
		return false
	}
	data = skipBlanks(data[1:])
	if len(data) > 0 && data[0] == '}' {
		return len(skipBlanks(data[1:])) == 0
	}
	for next := 0; len(data) > 0 && data[0] == '"'; next++ {
		end := bytes.IndexByte(data[1:], '"') + 1
		if end == 0 {
			return false
		}
		if next = find(fields, data[1:end], next); next < 0 {
			return false
		}
		data = skipBlanks(data[end+1:])
		if len(data) == 0 || data[0] != ':' {
			return false
		}
		data = skipBlanks(data[1:])
		end = plainLen(data)
		if !decodePlain(data[:end], v.Field(fields[next].index).Addr().Interface()) {
			return false
		}
		data = skipBlanks(data[end:])
		if len(data) == 0 || data[0] != ',' {
			return len(data) > 0 && data[0] == '}' && len(skipBlanks(data[1:])) == 0
		}
		data = skipBlanks(data[1:])
	}
	return false
}

// find returns the index of the field of that name, which is most likely the next
// one; -1: none.
func find(fields []field, name []byte, next int) int {
	if next < len(fields) && fields[next].name == string(name) {
		return next
	}
	return slices.IndexFunc(fields, func(f field) bool { return f.name == string(name) })
}

// plainLen returns the length of the plain value that data begins with; of another
// value it is that of a part which is none.
func plainLen(data []byte) int {
	if len(data) > 0 && data[0] == '"' {
		return bytes.IndexByte(data[1:], '"') + 2
	}
	for i, c := range data {
		switch c {
		case ',', '}', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return len(data)
}
