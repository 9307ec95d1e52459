package main

import (
	"encoding/json"
	"strings"
)

// parsePairs reads name=string and name:=json, in the order given. A name
// comes once. what is the word for a pair in an error.
func parsePairs(what string, pairs []string) ([]field, error) {
	fields := make([]field, 0, len(pairs))
	seen := make(map[string]bool, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usagef("%s %q: want name=string or name:=json", what, pair)
		}
		f := field{name, value}
		if key, isJSON := strings.CutSuffix(name, ":"); isJSON {
			if !json.Valid([]byte(value)) {
				return nil, usagef("%s %q: %q is not JSON (name=string needs no quotes)", what, pair, value)
			}
			f = field{key, json.RawMessage(value)}
		}
		switch {
		case f.key == "":
			return nil, usagef("%s %q: no name before the %q", what, pair, "=")
		case seen[f.key]:
			return nil, usagef("%s %q is given twice", what, f.key)
		}
		seen[f.key] = true
		fields = append(fields, f)
	}
	return fields, nil
}
