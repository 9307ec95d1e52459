package wire_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

func decompressZlib(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compressWith[W io.WriteCloser](tb testing.TB, newWriter func(io.Writer) W, b []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := newWriter(&out)
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func zlibbed(tb testing.TB, b []byte) []byte { return compressWith(tb, zlib.NewWriter, b) }
func gzipped(tb testing.TB, b []byte) []byte { return compressWith(tb, gzip.NewWriter, b) }

// osloMessage returns a message of the oslo type with that body.
func osloMessage(body string) *messaging.Message {
	return &messaging.Message{ContentType: "application/json", ContentEncoding: "utf-8", Body: []byte(body)}
}

func compressed(m *messaging.Message, kind string, body []byte) *messaging.Message {
	m.Headers = append(m.Headers, messaging.Header{Key: "compression", Value: kind})
	m.Body = body
	return m
}
