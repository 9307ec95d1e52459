package amqp1

import (
	"encoding/binary"
	"errors"
	"testing"
)

// TestVastSizes: a value that says it is larger than what an int holds on 32-bit
// systems, or holds more values than that, is cut off like any other.
func TestVastSizes(t *testing.T) {
	d := &decoder{}
	for _, n := range []uint32{1 << 31, 1<<32 - 2} {
		for _, code := range []byte{codeBinary32, codeList32, codeMap32, 0xf0} {
			r := reader{rest: append(binary.BigEndian.AppendUint32([]byte{code}, n), 0, 0, 0, 0, codeNull)}
			if r.next(); !errors.Is(r.err, errCutOff) {
				t.Errorf("%#x of %d bytes: %v", code, n, r.err)
			}
		}
		b := append(appendDescriptor(nil, sectionApplication), codeMap32, 0, 0, 0, 4)
		if a := d.message(binary.BigEndian.AppendUint32(b, n)); a.ContentType == "" {
			t.Errorf("a map of %d values is read", n)
		}
	}
}
