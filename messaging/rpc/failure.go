package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-go/patchbay/internal/jsontext"
	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/messaging"
)

// This file maps Go errors to the failure object of the wire, and back.

// Modules that classes of failures are from.
const (
	ownModule        = "patchbay"
	builtinsModule   = "builtins"
	python2Builtins  = "exceptions"
	dispatcherModule = "oslo_messaging.rpc.dispatcher"
	exceptionsModule = "oslo_messaging.exceptions"
	remoteSuffix     = "_Remote" // oslo.messaging appends it to what it raises again
)

// Bounds of a failure that is sent, in bytes: it must reach the caller, however
// much a handler put into its error.
const (
	maxFailureName = 1 << 10 // of module and class each
	maxFailureText = 16 << 10
	maxFailureArgs = 64 << 10
	maxTraceText   = 64 << 10
	maxTraceLines  = 64
)

// failure is the object of the wire. The order of its fields is oslo.messaging's.
type failure struct {
	Class   string          `json:"class"`
	Module  string          `json:"module"`
	Message string          `json:"message"`
	Trace   []string        `json:"tb"`
	Args    json.RawMessage `json:"args"`
	Kwargs  json.RawMessage `json:"kwargs"`
}

// encodeFailure returns the failure object for a handler's error. It cannot
// fail: what cannot be encoded is left out, and if a method of the error
// panics, it is that which the caller hears of.
func encodeFailure(err error) (body []byte) {
	defer func() {
		if v := recover(); v != nil {
			body = encodeDescribed(describe(newPanicError(v)))
		}
	}()
	return encodeDescribed(describe(err))
}

func encodeDescribed(f failure) []byte {
	f.Module, f.Class = stripRemote(f.Module, f.Class)
	f.Module, f.Class = serving.Truncate(f.Module, maxFailureName), serving.Truncate(f.Class, maxFailureName)
	f.Message = serving.Truncate(f.Message, maxFailureText)
	if f.Trace == nil {
		f.Trace = []string{exceptionLine(f.Module, f.Class, f.Message)}
	}
	f.Trace = lastLines(f.Trace)
	if !isJSON(f.Args, '[') {
		f.Args, _ = json.Marshal([]string{f.Message}) // strings always encode
	}
	if !isJSON(f.Kwargs, '{') {
		f.Kwargs = json.RawMessage("{}")
	}
	body, _ := json.Marshal(f) // strings, and what isJSON let through
	return body
}

// lastLines returns the innermost lines of a traceback for which there is room.
func lastLines(trace []string) []string {
	lines := slices.Clone(trace[max(0, len(trace)-maxTraceLines):])
	room := maxTraceText
	for i := len(lines) - 1; i >= 0; i-- {
		lines[i] = serving.Truncate(lines[i], maxFailureText)
		if room -= len(lines[i]); room < 0 {
			return lines[i+1:]
		}
	}
	return lines
}

// describe tells class, message and arguments of err. The outermost Classed
// error of the chain decides.
func describe(err error) failure {
	f := failure{Module: ownModule, Class: "Error", Message: err.Error()}
	var classed Classed
	switch {
	case errors.As(err, &classed):
		f.Module, f.Class = classed.RemoteClass()
	case errors.Is(err, messaging.ErrTimeout):
		f.Module, f.Class = exceptionsModule, "MessagingTimeout"
	case errors.Is(err, context.DeadlineExceeded):
		f.Module, f.Class = builtinsModule, "TimeoutError"
	case errors.Is(err, context.Canceled):
		f.Class = "Canceled"
	}
	switch e := classed.(type) {
	case *RemoteError:
		if err == error(e) { //nolint:errorlint // only what wraps nothing keeps the message alone
			f.Message = e.Message
		}
		f.Trace, f.Args, f.Kwargs = e.Trace, e.Args, e.Kwargs
	case *PanicError:
		f.Trace = append(e.Trace, exceptionLine(f.Module, f.Class, f.Message))
	case Parameterized:
		args, kwargs := e.RemoteArgs()
		f.Args, _ = json.Marshal(args)
		f.Kwargs, _ = json.Marshal(kwargs)
	}
	return f
}

// isJSON reports whether raw is a JSON value of reasonable size that begins with c.
func isJSON(raw json.RawMessage, c byte) bool {
	return len(raw) > 0 && len(raw) <= maxFailureArgs && raw[0] == c && json.Valid(raw)
}

// exceptionLine is the last line of a Python traceback.
func exceptionLine(module, class, message string) string {
	if module != "" && module != builtinsModule {
		class = module + "." + class
	}
	return class + ": " + message + "\n"
}

// stripRemote removes the suffix that oslo.messaging gives to module and class
// of an exception which it raises again.
func stripRemote(module, class string) (string, string) {
	m, ok1 := strings.CutSuffix(module, remoteSuffix)
	c, ok2 := strings.CutSuffix(class, remoteSuffix)
	if ok1 && ok2 {
		return m, c
	}
	return module, class
}

// decodeFailure reads a failure object from the network. It cannot fail: what
// is missing or of another type is left empty.
func decodeFailure(body []byte) *RemoteError {
	var parts struct{ Class, Module, Message, TB, Args, Kwargs json.RawMessage }
	if err := jsontext.Unmarshal(body, &parts); err != nil {
		return &RemoteError{Module: ownModule, Class: "Error", Message: "the server sent a failure that cannot be read"}
	}
	e := &RemoteError{Message: jsontext.Text(parts.Message), Args: bytes.Clone(parts.Args), Kwargs: bytes.Clone(parts.Kwargs)}
	e.Module, e.Class = stripRemote(jsontext.Text(parts.Module), jsontext.Text(parts.Class))
	if e.Module == python2Builtins {
		e.Module = builtinsModule
	}
	var lines []json.RawMessage
	if json.Unmarshal(parts.TB, &lines) != nil && len(parts.TB) > 0 {
		lines = []json.RawMessage{parts.TB}
	}
	for _, line := range lines {
		if s := jsontext.Text(line); s != "" {
			e.Trace = append(e.Trace, s)
		}
	}
	return e
}

// resolve finds the Go error that the class of e stands for: the
// application's, or one of this package.
func (e *RemoteError) resolve(lookup func(*RemoteError) error) *RemoteError {
	if lookup != nil {
		e.cause = lookup(e)
	}
	if e.cause == nil {
		e.cause = ownError(e.Module, e.Class)
	}
	return e
}

func ownError(module, class string) error {
	switch {
	case module == dispatcherModule && class == "NoSuchMethod":
		return ErrNoSuchMethod
	case module == dispatcherModule && class == "UnsupportedVersion":
		return ErrUnsupportedVersion
	case module == builtinsModule && class == "TypeError":
		return ErrBadArguments
	}
	return nil
}

// errNoSuchMethod and errUnsupportedVersion have oslo.messaging's class and text.
func errNoSuchMethod(method string) error {
	return NewError(dispatcherModule, "NoSuchMethod", "Endpoint does not support RPC method "+method).resolve(nil)
}

func errUnsupportedVersion(version, method string) error {
	return NewError(dispatcherModule, "UnsupportedVersion",
		"Endpoint does not support RPC version "+version+". Attempted method: "+method).resolve(nil)
}

// errBadArguments travels as Python's TypeError.
func errBadArguments(method string, err error) error {
	return NewError(builtinsModule, "TypeError", fmt.Sprintf("arguments of %s: %v", method, err)).resolve(nil)
}

// newPanicError returns the error for a recovered panic, with the frames that
// led to it. It is called by the deferred function itself.
func newPanicError(value any) *PanicError {
	return &PanicError{Value: value, Trace: append([]string{"Traceback (most recent call last):\n"}, serving.PanicTrace(1)...)}
}
