package wire

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/patchbay-go/patchbay/messaging"
)

// decompress returns m's body, decompressed as the header "compression" says.
// That header is kombu's, which calls a zlib stream gzip. limit is below MaxInt64.
func decompress(m *messaging.Message, limit int64) ([]byte, error) {
	kind, _ := m.Header("compression")
	if kind == "" {
		return m.Body, nil
	}
	r, err := decompressor(kind, m.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", messaging.ErrUndecodable, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing the body: %w", messaging.ErrUndecodable, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: %w: more than %d bytes after decompression", messaging.ErrUndecodable, messaging.ErrTooLarge, limit)
	}
	return b, nil
}

func decompressor(kind string, body []byte) (io.Reader, error) {
	r := bytes.NewReader(body)
	switch kind {
	case "application/x-gzip", "gzip", "zlib":
		if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
			return gzip.NewReader(r)
		}
		return zlib.NewReader(r)
	case "application/x-bz2", "bzip2", "bzip":
		return bzip2.NewReader(r), nil
	}
	return nil, errors.New("unknown compression; gzip and bz2 are possible")
}
