package wire

import (
	"bytes"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

const lowerhex = "0123456789abcdef"

// appendString appends s as a JSON string in ASCII, escaped as Python's
// json.dumps does it.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped appends what appendString does, without the quotes.
func appendEscaped[T string | []byte](b []byte, s T) []byte {
	for i := 0; i < len(s); {
		start := i
		for i < len(s) && isPlain(s[i]) {
			i++
		}
		b = append(b, s[start:i]...)
		if i == len(s) {
			break
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			b = appendRune(b, r)
			i += n
			continue
		}
		i++
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = appendUnit(b, rune(c))
		}
	}
	return b
}

// isPlain reports whether c needs no escape in a JSON string.
func isPlain(c byte) bool { return ' ' <= c && c < 0x7f && c != '"' && c != '\\' }

// appendJSON appends JSON text, in ASCII and on one line; empty text as def.
func appendJSON(b, text []byte, def string) []byte {
	if len(text) == 0 {
		return append(b, def...)
	}
	for {
		n := 0
		for n < len(text) && ' ' <= text[n] && text[n] < utf8.RuneSelf {
			n++
		}
		b, text = append(b, text[:n]...), text[n:]
		if len(text) == 0 {
			return b
		}
		if text[0] < ' ' { // only possible between tokens
			b, text = append(b, ' '), text[1:]
			continue
		}
		r, n := utf8.DecodeRune(text) // only possible inside a string
		b, text = appendRune(b, r), text[n:]
	}
}

// appendRune appends \uXXXX, twice for what UTF-16 needs a surrogate pair for.
func appendRune(b []byte, r rune) []byte {
	if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
		return appendUnit(appendUnit(b, hi), lo)
	}
	return appendUnit(b, r)
}

func appendUnit(b []byte, r rune) []byte {
	return append(b, '\\', 'u', lowerhex[r>>12&15], lowerhex[r>>8&15], lowerhex[r>>4&15], lowerhex[r&15])
}

// quoteInPlace turns b[start:], printable ASCII, into the inside of a JSON
// string: it puts a backslash before each quote and backslash. It grows b once
// and works from the end, so that it needs no second buffer.
func quoteInPlace(b []byte, start int) []byte {
	n := bytes.Count(b[start:], []byte{'"'}) + bytes.Count(b[start:], []byte{'\\'})
	end := len(b)
	b = slices.Grow(b, n)[:end+n]
	for n > 0 { // b[:end] is to be moved by n
		i := end - 1
		for b[i] != '"' && b[i] != '\\' {
			i--
		}
		copy(b[i+n:], b[i:end])
		n--
		b[i+n] = '\\'
		end = i
	}
	return b
}

// appendSeconds appends d in seconds, as an integer when it is whole.
func appendSeconds(b []byte, d time.Duration) []byte {
	b = strconv.AppendInt(b, int64(d/time.Second), 10)
	if frac := d % time.Second; frac > 0 {
		b = append(b, '.')
		for unit := time.Second / 10; frac > 0; unit /= 10 {
			b = append(b, '0'+byte(frac/unit))
			frac %= unit
		}
	}
	return b
}

// indexQuote returns the index of the quote that ends a valid JSON string; b
// begins behind the opening one.
func indexQuote(b []byte) int {
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
}

// unquoted decodes the inside of a valid JSON string. The result is s itself
// if there is nothing to decode.
func unquoted(s []byte) []byte {
	if bytes.IndexByte(s, '\\') < 0 {
		return s
	}
	return appendUnquoted(make([]byte, 0, len(s)), s)
}

// appendUnquoted appends the decoded inside of a valid JSON string. Half a
// surrogate pair becomes U+FFFD. The text never grows.
func appendUnquoted(b, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := hex4(s)
			s = s[4:]
			if utf16.IsSurrogate(r) {
				r, s = joinSurrogates(r, s)
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
}

// joinSurrogates returns the rune of a surrogate and the one that s may begin
// with, and what is left of s.
func joinSurrogates(r rune, s []byte) (rune, []byte) {
	if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
		if joined := utf16.DecodeRune(r, hex4(s[2:])); joined != utf8.RuneError {
			return joined, s[6:]
		}
	}
	return utf8.RuneError, s
}
