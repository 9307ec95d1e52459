package rpc

// What the tests see of the inside.
var (
	EncodeFailure = encodeFailure
	DecodeFailure = decodeFailure
	QuoteTokens   = quoteTokens
)
