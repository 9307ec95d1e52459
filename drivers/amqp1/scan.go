package amqp1

import "encoding/binary"

// maxNesting is how deep values may be inside each other in a message.
const maxNesting = 64

// scan looks at the types of a message's values, as the bytes come. It has a stack
// of its own, and passes over what is long without looking at it.
type scan struct {
	skip  uint64             // bytes of the value under way
	open  [maxNesting]uint32 // values that are still to come, in each that holds others
	depth int
	carry [9]byte // the beginning of a value whose head is not complete
	held  int
}

// feed reports whether the library can be given these bytes.
func (s *scan) feed(b []byte) bool {
	for {
		if n := min(s.skip, uint64(len(b))); n > 0 {
			s.skip -= n
			b = b[n:]
		}
		if len(b) == 0 {
			return true
		}
		if s.held > 0 || len(b) < len(s.carry) {
			n := copy(s.carry[s.held:], b)
			used, complete, ok := s.value(s.carry[:s.held+n])
			switch {
			case !ok:
				return false
			case !complete:
				s.held += n
				return true // nothing is left of b: a head fits into carry
			}
			b = b[used-s.held:]
			s.held = 0
			continue
		}
		used, _, ok := s.value(b)
		if !ok {
			return false
		}
		b = b[used:]
	}
}

// value looks at the head of a value. It reports how many bytes that has, if it is
// complete, and whether it may be there.
func (s *scan) value(b []byte) (used int, complete, ok bool) {
	code := b[0]
	size := headSize(code)
	switch {
	case size == 0:
		return 0, false, false
	case len(b) < size:
		return 0, false, true
	}
	holds := uint32(0)
	switch {
	case code == 0x00: // a described value: its descriptor and the value
		holds = 2
	case code>>4 <= 0x9:
		s.skip = uint64(fixedWidth(code)) //nolint:gosec // at most 16
	case code>>4 == 0xa, code>>4 == 0xe:
		s.skip = uint64(b[1])
	case code>>4 == 0xb, code>>4 == 0xf: // arrays hold values of one type, and the library takes none that hold others
		s.skip = uint64(binary.BigEndian.Uint32(b[1:]))
	case code>>4 == 0xc:
		holds = uint32(b[2])
	default:
		holds = binary.BigEndian.Uint32(b[5:])
	}
	return size, true, s.step(holds)
}

// step notes that a value has begun that holds so many others.
func (s *scan) step(holds uint32) bool {
	if s.depth > 0 {
		s.open[s.depth-1]--
	}
	if holds > 0 {
		if s.depth == maxNesting {
			return false
		}
		s.open[s.depth] = holds
		s.depth++
	}
	for s.depth > 0 && s.open[s.depth-1] == 0 {
		s.depth--
	}
	return true
}

// headSize returns the bytes of a value's constructor, size and count; 0: the
// library does not know the type.
func headSize(code byte) int {
	switch code {
	case 0x00:
		return 1
	case 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, // null, true, false, zero, the empty list
		0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, // one byte
		0x60, 0x61, 0x70, 0x71, 0x72, 0x80, 0x81, 0x82, 0x83, // two, four, eight
		0x98: // a UUID
		return 1
	case 0xa0, 0xa1, 0xa3, 0xe0:
		return 2
	case 0xb0, 0xb1, 0xb3, 0xf0:
		return 5
	case 0xc0, 0xc1:
		return 3
	case 0xd0, 0xd1:
		return 9
	}
	return 0 // characters and decimal numbers among them
}
