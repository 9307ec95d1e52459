package jsontext

import (
	"strconv"
	"unicode/utf8"
)

// Most results are one plain value. This file writes and reads those as the rest of
// the package does, without its machinery; what is not plain it leaves to that.

// appendPlain appends the JSON text of v, and reports whether it could.
func appendPlain(b []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), true
	case bool:
		return strconv.AppendBool(b, v), true
	case int:
		return strconv.AppendInt(b, int64(v), 10), true
	case int64:
		return strconv.AppendInt(b, v, 10), true
	case string:
		if !isPlain(v) {
			return b, false
		}
		b = append(b, '"')
		b = append(b, v...)
		return append(b, '"'), true
	}
	return b, false
}

// decodePlain decodes data into v, and reports whether it could.
func decodePlain(data []byte, v any) bool {
	switch v := v.(type) {
	case *bool:
		is := string(data) == "true"
		return set(v, is, is || string(data) == "false")
	case *int:
		n, ok := parsePlain(data)
		return set(v, int(n), ok && int64(int(n)) == n)
	case *int64:
		n, ok := parsePlain(data)
		return set(v, n, ok)
	case *string:
		n := len(data)
		if n < 2 || data[0] != '"' || data[n-1] != '"' || !isPlain(data[1:n-1]) {
			return false
		}
		return set(v, string(data[1:n-1]), true)
	}
	return false
}

func set[T any](v *T, value T, ok bool) bool {
	if ok = ok && v != nil; ok {
		*v = value
	}
	return ok
}

// maxPlainDigits is how many digits surely fit an int64.
const maxPlainDigits = 18

// parsePlain parses an integer without fraction, exponent and blanks, if it is
// not long.
func parsePlain(data []byte) (n int64, ok bool) {
	digits := data
	if len(data) > 0 && data[0] == '-' {
		digits = data[1:]
	}
	if len(digits) == 0 || len(digits) > maxPlainDigits || digits[0] == '0' && len(data) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(data) {
		n = -n
	}
	return n, true
}

// isPlain reports whether a string is ASCII that stands for itself between
// quotes.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
