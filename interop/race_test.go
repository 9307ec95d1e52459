//go:build race

package interop_test

// withRace says that the tests, and so the programs they build, have the race detector.
const withRace = true
