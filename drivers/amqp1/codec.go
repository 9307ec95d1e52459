package amqp1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// This file writes and reads values of AMQP 1.0: part 1 of the specification. What
// a value holds is read when it is asked for, and passed over by its size
// otherwise, so that nothing nests.

// The constructors of values that are written here.
const (
	codeDescribed = 0x00
	codeNull      = 0x40
	codeTrue      = 0x41
	codeFalse     = 0x42
	codeUint0     = 0x43
	codeList0     = 0x45
	codeUbyte     = 0x50
	codeSmallUint = 0x52
	codeSmallUlng = 0x53
	codeBoolean   = 0x56
	codeUint      = 0x70
	codeUlong     = 0x80
	codeUUID      = 0x98
	codeBinary8   = 0xa0
	codeString8   = 0xa1
	codeSymbol8   = 0xa3
	codeBinary32  = 0xb0
	codeString32  = 0xb1
	codeSymbol32  = 0xb3
	codeList8     = 0xc0
	codeMap8      = 0xc1
	codeList32    = 0xd0
	codeMap32     = 0xd1
)

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, codeTrue)
	}
	return append(b, codeFalse)
}

func appendUint(b []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(b, codeUint0)
	case v < 256:
		return append(b, codeSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, codeUint), v)
}

// appendText appends a string, a symbol or binary, whose constructor for short
// ones is given.
func appendText[T string | []byte](b []byte, code byte, v T) []byte {
	if len(v) < 256 {
		b = append(b, code, byte(len(v)))
	} else {
		b = binary.BigEndian.AppendUint32(append(b, code|0x10), uint32(len(v))) //nolint:gosec // bounded by the largest message
	}
	return append(b, v...)
}

// appendOptional appends a string or a symbol, and null for an empty one.
func appendOptional(b []byte, code byte, v string) []byte {
	if v == "" {
		return append(b, codeNull)
	}
	return appendText(b, code, v)
}

// appendDescriptor appends what makes the next value a described one.
func appendDescriptor(b []byte, d descriptor) []byte {
	return append(b, codeDescribed, codeSmallUlng, byte(d))
}

// beginList8 appends the head of a list that is short; endList8 fills it in.
func beginList8(b []byte, d descriptor) (_ []byte, at int) {
	b = append(appendDescriptor(b, d), codeList8, 0, 0)
	return b, len(b)
}

func endList8(b []byte, at int, count byte) []byte {
	b[at-2], b[at-1] = byte(len(b)-at+1), count
	return b
}

// beginCompound appends the head of a list or a map; endCompound fills it in.
func beginCompound(b []byte, d descriptor, code byte) (_ []byte, at int) {
	b = append(appendDescriptor(b, d), code, 0, 0, 0, 0, 0, 0, 0, 0)
	return b, len(b)
}

func endCompound(b []byte, at int, count int) []byte {
	binary.BigEndian.PutUint32(b[at-8:], uint32(len(b)-at+4)) //nolint:gosec // bounded by the largest message
	binary.BigEndian.PutUint32(b[at-4:], uint32(count))       //nolint:gosec // likewise
	return b
}

// value is a value that was read.
type value struct {
	described  bool
	descriptor descriptor // if it is described by a number
	code       byte       // its constructor
	data       []byte     // what is behind its size, and its count if it has one
	count      int        // of a list or a map: how many values it holds, in data
}

var (
	errCutOff  = errors.New("a value is cut off")
	errNotType = errors.New("a value is of a type that there is not")
)

// reader reads values one after the other. After an error there are none.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) value {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
	return value{code: codeNull}
}

// next returns the next value; null, and an error, if there is none.
func (r *reader) next() value {
	v := r.plain()
	if v.code != codeDescribed || r.err != nil {
		return v
	}
	d, described := r.plain(), r.plain()
	if d.code == codeDescribed || described.code == codeDescribed {
		return r.fail(errNotType) // AMQP has such, nobody uses them
	}
	described.described = true
	if n, ok := d.number(); ok && n < 256 {
		described.descriptor = descriptor(n)
	}
	return described
}

// plain returns the next value, or of a described one nothing but its constructor.
func (r *reader) plain() (v value) {
	if len(r.rest) == 0 {
		return r.fail(errCutOff)
	}
	v.code = r.rest[0]
	at, size, compound := 1, 0, false
	switch kind := v.code >> 4; kind {
	case 0x0:
		if v.code != codeDescribed {
			return r.fail(errNotType)
		}
	case 0x4:
	case 0x5, 0x6, 0x7, 0x8, 0x9:
		size = 1 << (kind - 5)
	case 0xa, 0xc, 0xe:
		if len(r.rest) < 2 {
			return r.fail(errCutOff)
		}
		at, size, compound = 2, int(r.rest[1]), kind != 0xa
	case 0xb, 0xd, 0xf:
		if len(r.rest) < 5 {
			return r.fail(errCutOff)
		}
		at, size, compound = 5, length(r.rest[1:]), kind != 0xb
	default:
		return r.fail(errNotType)
	}
	if size > len(r.rest)-at {
		return r.fail(errCutOff)
	}
	v.data = r.rest[at : at+size : at+size]
	r.rest = r.rest[at+size:]
	if compound {
		return r.counted(v)
	}
	return v
}

// length reads a size or a count. What an int does not hold on a 32-bit system is more
// than there is anyway.
func length(b []byte) int { return int(min(binary.BigEndian.Uint32(b), math.MaxInt32)) }

// counted takes the count off the data of a list, a map or an array.
func (r *reader) counted(v value) value {
	width := 1
	if v.code&0x10 != 0 {
		width = 4
	}
	if len(v.data) < width {
		return r.fail(errCutOff)
	}
	if width == 1 {
		v.count = int(v.data[0])
	} else {
		v.count = length(v.data)
	}
	v.data = v.data[width:]
	if v.count > len(v.data) && v.code>>5 != 0x7 { // each value of a list or a map has a byte at least
		return r.fail(fmt.Errorf("%w: %d values in %d bytes", errCutOff, v.count, len(v.data)))
	}
	return v
}

func (v value) null() bool { return v.code == codeNull }

// number returns an unsigned integer of any width.
func (v value) number() (n uint64, ok bool) {
	switch v.code {
	case codeUint0, 0x44:
		return 0, true
	case codeUbyte, codeSmallUint, codeSmallUlng:
		return uint64(v.data[0]), true
	case 0x60:
		return uint64(binary.BigEndian.Uint16(v.data)), true
	case codeUint:
		return uint64(binary.BigEndian.Uint32(v.data)), true
	case codeUlong:
		return binary.BigEndian.Uint64(v.data), true
	}
	return 0, false
}

// uint32 returns an unsigned integer, and 0 for anything else.
func (v value) uint32() uint32 {
	n, _ := v.number()
	return uint32(n) //nolint:gosec // what is wider than the specification says is wrong anyway
}

// bool returns a boolean, and false for anything else.
func (v value) bool() bool {
	return v.code == codeTrue || v.code == codeBoolean && v.data[0] != 0
}

// text returns what is in a string, a symbol or binary.
func (v value) text() (_ []byte, ok bool) {
	switch v.code {
	case codeString8, codeString32, codeSymbol8, codeSymbol32, codeBinary8, codeBinary32:
		return v.data, true
	}
	return nil, false
}

// list returns the values of a list, one after the other, and then nulls: the last
// ones may be left out. Of anything else there are none.
func (v value) list() fields {
	switch v.code {
	case codeList8, codeList32:
		return fields{reader: reader{rest: v.data}, left: v.count}
	}
	return fields{}
}

// fields are those of a list.
type fields struct {
	reader
	left int
}

func (f *fields) next() value {
	if f.left == 0 {
		return value{code: codeNull}
	}
	f.left--
	return f.reader.next()
}

// skip passes over n fields.
func (f *fields) skip(n int) {
	for range n {
		f.next()
	}
}
