package rpc

import "github.com/patchbay-go/patchbay/internal/jsontext"

// What the tests see of the inside.
var (
	EncodeFailure = encodeFailure
	DecodeFailure = decodeFailure
	QuoteTokens   = jsontext.QuoteTokens
)
