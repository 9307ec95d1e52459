package quickstart

import (
	"testing"
	"testing/synctest"
)

// The program leaves no goroutine behind: else the bubble would not end.
func TestNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(*testing.T) { Example() })
}
