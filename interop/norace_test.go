//go:build !race

package interop_test

const withRace = false
