package wire

import (
	"fmt"
	"unicode/utf8"

	"github.com/patchbay-go/patchbay/messaging"
)

// maxDepth bounds the nesting of JSON. Python's own limit is about 1000.
const maxDepth = 512

// scanner walks once over the members of a JSON object. It checks the grammar
// of everything it passes, with Python's NaN, Infinity and -Infinity beside
// JSON's tokens, and decodes nothing: values are slices of data.
type scanner struct {
	data  []byte
	pos   int
	fault string // what is wrong at pos

	key    []byte // of the current member, decoded
	value  []byte // of the current member: JSON text
	member []byte // name, colon and value: JSON text
}

// next goes to the next member. It returns false at the end and on an error.
func (s *scanner) next() bool {
	if s.value == nil {
		s.space()
		if !s.accept('{') {
			return s.fail("not a JSON object")
		}
		if s.space(); s.accept('}') {
			return s.end()
		}
	} else {
		if s.space(); s.accept('}') {
			return s.end()
		}
		if !s.accept(',') {
			return s.fail("no comma or brace behind a member")
		}
		s.space()
	}
	start := s.pos
	if !s.name() {
		return false
	}
	s.key = s.data[start+1:]
	s.key = unquoted(s.key[:indexQuote(s.key)])
	s.space()
	valueStart := s.pos
	if !s.skipValue() {
		return false
	}
	s.value, s.member = s.data[valueStart:s.pos], s.data[start:s.pos]
	return true
}

// single checks that data is one JSON value, and returns it without the blanks
// around it.
func (s *scanner) single() []byte {
	s.space()
	start := s.pos
	if !s.skipValue() {
		return nil
	}
	v := s.data[start:s.pos]
	s.end()
	return v
}

// err returns nil, or why the scanner stopped before the end. It matches
// ErrUndecodable.
func (s *scanner) err() error {
	if s.fault == "" {
		return nil
	}
	return fmt.Errorf("%w: %s (byte %d of %d)", messaging.ErrUndecodable, s.fault, s.pos, len(s.data))
}

func (s *scanner) fail(why string) bool {
	s.fault = why
	return false
}

func (s *scanner) end() bool {
	if s.space(); s.pos < len(s.data) {
		s.fault = "text behind the end"
	}
	return false
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) accept(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// skipValue passes over one value. It keeps its own stack, one bit a level.
func (s *scanner) skipValue() bool {
	var objects [maxDepth / 64]uint64 // whether the container at that depth is an object
	for depth := 0; ; {
		opened := byte(0)
		if s.pos < len(s.data) {
			opened = s.data[s.pos]
		}
		switch opened {
		case '{', '[':
			if depth == maxDepth {
				return s.fail("nested too deeply")
			}
			s.pos++
			isObject := opened == '{'
			setBit(&objects, depth, isObject)
			depth++
			s.space()
			if s.accept(closer(isObject)) {
				depth--
				break
			}
			if isObject && !s.name() {
				return false
			}
			s.space()
			continue
		default:
			if !s.scalar() {
				return false
			}
		}
		for { // behind a value: a comma leads to the next one, closers end containers
			if depth == 0 {
				return true
			}
			isObject := objects[(depth-1)/64]>>((depth-1)%64)&1 == 1
			if s.space(); s.accept(closer(isObject)) {
				depth--
				continue
			}
			if !s.accept(',') {
				return s.fail("no comma behind a value")
			}
			s.space()
			if isObject && !s.name() {
				return false
			}
			s.space()
			break
		}
	}
}

func setBit(bits *[maxDepth / 64]uint64, i int, on bool) {
	bits[i/64] &^= 1 << (i % 64)
	if on {
		bits[i/64] |= 1 << (i % 64)
	}
}

func closer(isObject bool) byte {
	if isObject {
		return '}'
	}
	return ']'
}

// name passes over the name of a member and its colon.
func (s *scanner) name() bool {
	if s.pos == len(s.data) || s.data[s.pos] != '"' {
		return s.fail("no name of a member")
	}
	if !s.text() {
		return false
	}
	if s.space(); !s.accept(':') {
		return s.fail("no colon behind a name")
	}
	return true
}

func (s *scanner) scalar() bool {
	if s.pos == len(s.data) {
		return s.fail("no value")
	}
	switch c := s.data[s.pos]; c {
	case '"':
		return s.text()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	case 'N':
		return s.word("NaN")
	case 'I':
		return s.word("Infinity")
	default:
		return s.number()
	}
}

func (s *scanner) word(w string) bool {
	if len(s.data)-s.pos < len(w) || string(s.data[s.pos:s.pos+len(w)]) != w {
		return s.fail("no JSON value")
	}
	s.pos += len(w)
	return true
}

func (s *scanner) number() bool {
	if s.accept('-') && s.pos < len(s.data) && s.data[s.pos] == 'I' {
		return s.word("Infinity")
	}
	if !s.accept('0') && !s.digits() {
		return s.fail("no JSON value")
	}
	if s.accept('.') && !s.digits() {
		return s.fail("no digit behind a decimal point")
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		if !s.digits() {
			return s.fail("no digit in an exponent")
		}
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// special tells which bytes are not just themselves in a JSON string: the quote,
// the backslash and control characters.
var special = func() (t [256]bool) { //nolint:gochecknoglobals // a constant
	for c := range ' ' {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// text passes over a string, whose first quote is at pos.
func (s *scanner) text() bool {
	for i := s.pos + 1; i < len(s.data); i++ {
		c := s.data[i]
		if !special[c] {
			continue
		}
		switch c {
		case '"':
			s.pos = i + 1
			return true
		case '\\':
			n := escapeLen(s.data[i:])
			if n == 0 {
				s.pos = i
				return s.fail("malformed escape in a string")
			}
			i += n - 1
		default:
			s.pos = i
			return s.fail("control character in a string")
		}
	}
	s.pos = len(s.data)
	return s.fail("string without an end")
}

// escapeLen returns the length of the escape that b begins with; 0: none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if hex4(b[2:]) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 returns the number in the first four bytes of b; -1: they hold none.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// checkUTF8 returns an error that matches ErrUndecodable if b is not UTF-8.
func checkUTF8(b []byte) error {
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: not UTF-8", messaging.ErrUndecodable)
	}
	return nil
}
