package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// This file decodes with the implementation that encoding/json has from Go 1.27 on,
// under the rules of the present one: it reads long texts in an eighth of the time.

// Decode decodes data, exactly one value, into v. With strict, names that v does
// not have are an error.
func Decode(data []byte, v any, strict bool) error {
	if decodeShort(data, v) {
		return nil
	}
	return decode(data, v, optionsFor(strict, true))
}

// Unmarshal is Decode, but not strict.
func Unmarshal(data []byte, v any) error { return Decode(data, v, false) }

// Decode is as the function of that name. It remembers which types are plain, and for
// which the functions of this file are not needed: that they are looked for at each
// value is a third of what short texts cost.
func (c *Codec) Decode(data []byte, v any, strict bool) error {
	if decodeShort(data, v) {
		return nil
	}
	s := c.shapeOf(reflect.TypeOf(v))
	if s.fields != nil && decodeFields(data, reflect.ValueOf(v), s.fields) {
		return nil
	}
	return decode(data, v, optionsFor(strict, s.special))
}

// decodeShort decodes what needs no package for it, and reports whether it could.
func decodeShort(data []byte, v any) bool {
	if raw, ok := v.(*json.RawMessage); ok && raw != nil {
		*raw = append((*raw)[:0], data...)
		return true
	}
	return decodePlain(data, v)
}

func decode(data []byte, v any, o jsonv2.Options) error {
	err := jsonv2.Unmarshal(data, v, o)
	if err == nil {
		return nil
	}
	var syntax *jsonv1.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	quoted, ok := QuoteTokens(data)
	if !ok {
		return err
	}
	return jsonv2.Unmarshal(quoted, v, o)
}

// isSpecial reports whether a t may hold what this file has functions for: an
// interface, a Number, or a type that decodes itself with the options it is given.
func isSpecial(t reflect.Type, seen map[reflect.Type]bool) bool {
	switch {
	case t == nil || t == reflect.TypeFor[json.Number]():
		return true
	case seen[t]:
		return false
	case reflect.PointerTo(t).Implements(reflect.TypeFor[jsonv2.UnmarshalerFrom]()):
		return true
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return isSpecial(t.Elem(), seen)
	case reflect.Map:
		return isSpecial(t.Key(), seen) || isSpecial(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if isSpecial(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// optionsFor returns the options with or without strictness, and with or without
// the functions of this file.
func optionsFor(strict, special bool) jsonv2.Options {
	switch {
	case strict && special:
		return strictly
	case strict:
		return strictlySimple
	case special:
		return lax
	}
	return laxSimple
}

//nolint:gochecknoglobals // constants
var (
	laxSimple = jsonv1.DefaultOptionsV1()
	lax       = jsonv2.JoinOptions(
		laxSimple,
		jsonv2.WithUnmarshalers(jsonv2.JoinUnmarshalers(
			jsonv2.UnmarshalFromFunc(unmarshalAny),
			jsonv2.UnmarshalFromFunc(unmarshalNumber),
		)),
	)
	strictlySimple = jsonv2.JoinOptions(laxSimple, jsonv2.RejectUnknownMembers(true))
	strictly       = jsonv2.JoinOptions(lax, jsonv2.RejectUnknownMembers(true))
)

// unmarshalNumber decodes into the standard library's Number, which is not the one
// that the package knows.
func unmarshalNumber(d *jsontext.Decoder, v *json.Number) error {
	switch d.PeekKind() {
	case '0':
		n, err := d.ReadValue()
		*v = json.Number(n)
		return err
	case '"':
		t, err := d.ReadToken()
		if err != nil {
			return err
		}
		n := jsontext.Value(t.String())
		if in, count := d.StackIndex(d.StackDepth()); in == '{' && count%2 == 1 { // a name: any string
			*v = json.Number(n)
			return nil
		}
		if n.Kind() != '0' || !n.IsValid() || bytes.ContainsAny(n, blanks) {
			return fmt.Errorf("%q is no number", n)
		}
		*v = json.Number(n)
		return nil
	}
	return errors.ErrUnsupported
}

// unmarshalAny decodes into an empty interface: numbers keep every digit. One that
// holds a pointer is left to the package.
func unmarshalAny(d *jsontext.Decoder, v *any) error {
	if p := reflect.ValueOf(*v); p.Kind() == reflect.Pointer && !p.IsNil() {
		return errors.ErrUnsupported
	}
	value, err := decodeAny(d)
	if err == nil {
		*v = value
	}
	return err
}

func decodeAny(d *jsontext.Decoder) (any, error) {
	if d.PeekKind() == '0' {
		n, err := d.ReadValue()
		return json.Number(n), err
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case '"':
		return t.String(), nil
	case 't', 'f':
		return t.Bool(), nil
	case '[':
		list := []any{}
		for d.PeekKind() != ']' {
			element, err := decodeAny(d)
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		_, err = d.ReadToken()
		return list, err
	case '{':
		object := make(map[string]any)
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String()
			if object[key], err = decodeAny(d); err != nil {
				return nil, err
			}
		}
		_, err = d.ReadToken()
		return object, err
	}
	return nil, nil // null
}
