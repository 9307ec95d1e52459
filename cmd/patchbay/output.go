package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// field is one member of a JSON object. A json.RawMessage keeps its text: big
// integers, and the NaN and Infinity of a Python peer, pass through untouched.
type field struct {
	key   string
	value any
}

// object encodes fields, in their order, as one line of JSON.
func object(fields ...field) (json.RawMessage, error) {
	b := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := encode(f.key)
		if err != nil {
			return nil, err
		}
		value, err := encode(f.value)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", f.key, err)
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// encode is json.Marshal that leaves <, > and & readable, and a
// json.RawMessage as it is but for line breaks, which JSON has only between
// tokens. An empty one is null.
func encode(v any) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok {
		if len(raw) == 0 {
			return []byte("null"), nil
		}
		return bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\n"), []byte(" ")), []byte("\r"), []byte(" ")), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// lines writes results: one JSON object a line. It is safe for concurrent use.
type lines struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

// print writes an object.
func (l *lines) print(fields ...field) error {
	line, err := object(fields...)
	if err != nil {
		return err
	}
	return l.printValue(line)
}

// printValue writes anything that encodes as an object, in one Write.
func (l *lines) printValue(v any) error {
	line, err := encode(v)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// printError writes err as a line of JSON and returns the exit code for it.
func printError(w io.Writer, err error) int {
	kind, code := classify(err)
	fields := []field{{"error", kind}, {"message", redact(strings.TrimSpace(err.Error()))}}
	if remote, ok := errors.AsType[*rpc.RemoteError](err); ok {
		fields[1].value = remote.Message
		trace := remote.Trace
		if trace == nil {
			trace = []string{}
		}
		fields = append(fields, field{"class", remote.Class}, field{"module", remote.Module}, field{"trace", trace})
	}
	l := &lines{w: w}
	_ = l.print(fields...) // stderr is gone: the exit code still tells
	return code
}

// redact hides what may be a password: no error of ours holds one, but a URL
// given in the wrong place comes back in words like "unknown command". It hides
// too much rather than too little: hosts before the last one go as well. A password
// may have a blank in it where the whole URL is quoted.
func redact(s string) string {
	quoted := regexp.MustCompile(`("[a-zA-Z0-9+.-]*://[^\s/:"]*):(?:[^"\\]|\\.)*@`)
	bare := regexp.MustCompile(`(://[^\s/:]*):\S*@`)
	return bare.ReplaceAllString(quoted.ReplaceAllString(s, "$1:***@"), "$1:***@")
}
