// Package conformance says what a driver must do, and proves it.
//
// It is a suite of cases that any driver can run: with Run from a test, or with
// Check from a program, which returns a Report instead. A Harness tells it how
// to open a transport, and nothing else is needed:
//
//	func TestConformance(t *testing.T) {
//		reg := messaging.Registry{"mine": mine.Open}
//		conformance.Run(t, conformance.FromURL(reg, "mine://localhost", nil))
//	}
//
// # Cases
//
// A Case is one rule with a stable id and a sentence that says why it matters;
// a failure prints the sentence. Its Level says who owes it: LevelMust is owed by
// every driver; LevelCapability by those which declare the capability, and the
// others are probed, because a declaration must not be stale; LevelFault is run
// when the Harness has Faults. Which cases are optional is decided here, never
// by a driver.
//
// # How a case judges
//
// No case sleeps to synchronise: Listen returns when messages reach it, and
// absence is asserted behind a fence, a message sent later down the same path.
// What was sent and what came is written to a ledger and judged in the end.
// Bounds of time are asserted on both sides. A case that hangs is ended by a
// watchdog that shows every goroutine and the ledger's tail; goroutines and
// sockets left behind are looked for after every case. Random choices come
// from a seed that is printed and can be given again.
//
// The suite itself is tested with broken drivers, each of which must fail the
// case that is meant for its defect, and no other.
package conformance
