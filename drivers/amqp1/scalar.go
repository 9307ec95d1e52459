package amqp1

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"
)

// scalar renders a value as text, if it is no list, map, array or null.
func (v value) scalar() (string, bool) {
	if v.described {
		return "", false
	}
	if b, ok := v.text(); ok {
		return string(b), true
	}
	if n, ok := v.number(); ok {
		return strconv.FormatUint(n, 10), true
	}
	if n, ok := v.signed(); ok {
		return strconv.FormatInt(n, 10), true
	}
	switch v.code {
	case codeTrue, codeFalse, codeBoolean:
		return strconv.FormatBool(v.bool()), true
	case 0x72:
		return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(v.data))), 'g', -1, 32), true
	case 0x82:
		return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(v.data)), 'g', -1, 64), true
	case 0x73: // a character
		return string(rune(binary.BigEndian.Uint32(v.data))), true //nolint:gosec // what is none becomes U+FFFD
	case 0x83: // a moment, in ms
		return time.UnixMilli(int64(binary.BigEndian.Uint64(v.data))).UTC().Format(time.RFC3339Nano), true //nolint:gosec // it is signed
	case codeUUID:
		return uuid(v.data), true
	}
	return "", false // a decimal number among them
}

// signed returns a signed integer of any width.
func (v value) signed() (int64, bool) {
	switch v.code {
	case 0x51, 0x54, 0x55:
		return int64(int8(v.data[0])), true //nolint:gosec // it is signed
	case 0x61:
		return int64(int16(binary.BigEndian.Uint16(v.data))), true //nolint:gosec // likewise
	case 0x71:
		return int64(int32(binary.BigEndian.Uint32(v.data))), true //nolint:gosec // likewise
	case 0x81:
		return int64(binary.BigEndian.Uint64(v.data)), true //nolint:gosec // likewise
	}
	return 0, false
}

// identifier renders a message id, which may have one of four types.
func identifier(v value) string {
	switch v.code {
	case codeBinary8, codeBinary32:
		return hex.EncodeToString(v.data)
	case codeUUID:
		return uuid(v.data)
	}
	if b, ok := v.text(); ok {
		return string(b)
	}
	if n, ok := v.number(); ok {
		return strconv.FormatUint(n, 10)
	}
	return ""
}

func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
