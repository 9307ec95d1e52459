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
	if raw, ok := v.(*json.RawMessage); ok {
		*raw = append((*raw)[:0], data...)
		return nil
	}
	if decodePlain(data, v) {
		return nil
	}
	options := lax
	if strict {
		options = strictly
	}
	err := jsonv2.Unmarshal(data, v, options)
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
	return jsonv2.Unmarshal(quoted, v, options)
}

// Unmarshal is Decode, but not strict.
func Unmarshal(data []byte, v any) error { return Decode(data, v, false) }

//nolint:gochecknoglobals // constants
var (
	lax = jsonv2.JoinOptions(
		jsonv1.DefaultOptionsV1(),
		jsonv2.WithUnmarshalers(jsonv2.JoinUnmarshalers(
			jsonv2.UnmarshalFromFunc(unmarshalAny),
			jsonv2.UnmarshalFromFunc(unmarshalNumber),
		)),
	)
	strictly = jsonv2.JoinOptions(lax, jsonv2.RejectUnknownMembers(true))
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
	if reflect.ValueOf(*v).Kind() == reflect.Pointer {
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
