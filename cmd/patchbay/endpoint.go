package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// maxDigits bounds the numbers that add takes: reading a number in base ten
// costs more than its length.
const maxDigits = 10_000

// demoEndpoint returns the methods to try things out with (docs/cli.md).
func demoEndpoint(t messaging.Target) *rpc.Endpoint {
	ep := &rpc.Endpoint{Namespace: t.Namespace, Version: t.Version}
	null := func(context.Context, *rpc.Request) (json.RawMessage, error) { return nil, nil }
	rpc.HandleRaw(ep, "record", null)
	rpc.HandleRaw(ep, "none", null)
	rpc.HandleRaw(ep, "echo", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) { return echo(r.Args), nil })
	rpc.HandleRaw(ep, "ctxt", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) { return contextObject(r.Context) })
	rpc.Handle(ep, "whoami", func(context.Context, rpc.None) (string, error) { return t.Server, nil })
	rpc.Handle(ep, "add", add)
	rpc.Handle(ep, "fail", func(_ context.Context, a failArgs) (rpc.None, error) { return rpc.None{}, valueError(a.Message) })
	rpc.Handle(ep, "sleep", sleep)
	return ep
}

type (
	addArgs   struct{ A, B json.RawMessage }
	failArgs  struct{ Message string }
	sleepArgs struct{ Seconds float64 }
)

// echo returns the argument named value, or all of them.
func echo(args json.RawMessage) json.RawMessage {
	masked := maskPython(args)
	dec := json.NewDecoder(bytes.NewReader(masked))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return args
	}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return args
		}
		if end := int(dec.InputOffset()); name == "value" {
			return args[end-len(value) : end]
		}
	}
	return args
}

// maskPython returns data with Python's NaN, Infinity and -Infinity as numbers
// of the same length, so that a JSON decoder finds its way and its offsets hold
// for data.
func maskPython(data []byte) []byte {
	tokens := regexp.MustCompile(`"(?:[^"\\]|\\.)*"|Infinity|NaN`)
	return tokens.ReplaceAllFunc(data, func(token []byte) []byte {
		if token[0] == '"' {
			return token
		}
		return append([]byte("0."), bytes.Repeat([]byte("0"), len(token)-2)...)
	})
}

// add adds whole numbers exactly, and others as float64.
func add(_ context.Context, args addArgs) (json.RawMessage, error) {
	if max(len(args.A), len(args.B)) > maxDigits {
		return nil, valueError(fmt.Sprintf("add takes numbers of %d digits at most", maxDigits))
	}
	a, aWhole := new(big.Int).SetString(string(args.A), 10)
	b, bWhole := new(big.Int).SetString(string(args.B), 10)
	if aWhole && bWhole {
		return a.Add(a, b).Append(nil, 10), nil
	}
	var x, y float64
	if json.Unmarshal(args.A, &x) != nil || json.Unmarshal(args.B, &y) != nil {
		return nil, rpc.NewError("builtins", "TypeError", "add wants two numbers, a and b")
	}
	sum, err := json.Marshal(x + y)
	if err != nil {
		return nil, valueError("the sum is out of range")
	}
	return sum, nil
}

// sleep returns after so many seconds, or when the call is over.
func sleep(ctx context.Context, args sleepArgs) (rpc.None, error) {
	const longest = 24 * time.Hour
	if args.Seconds < 0 || args.Seconds > longest.Seconds() {
		return rpc.None{}, valueError(fmt.Sprintf("sleep wants 0 to %v seconds", longest.Seconds()))
	}
	t := time.NewTimer(time.Duration(args.Seconds * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return rpc.None{}, nil
	case <-ctx.Done():
		return rpc.None{}, ctx.Err()
	}
}

func valueError(message string) error { return rpc.NewError("builtins", "ValueError", message) }
