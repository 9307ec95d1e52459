// Package serving has what an RPC server and a notification listener have in
// common: a Receiver that listens, hands what comes to an Executor, and drains;
// and what becomes of a message that its handler gave back.
package serving
