// Package archtest holds the import arrows of the module as a test:
//
//	app ──> rpc ──> messaging <── drivers/* (and the client library)
//	        wire ──> messaging    conformance ──> messaging, rpc
//
// The rules, and why each is there, are the table in rules_test.go. A package
// that no rule covers fails the test: a new one is placed by a decision.
package archtest
