package zmq_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestLongDirectory: a directory whose sockets nobody could dial, since their names are
// longer than a socket's may be, is refused by who listens.
func TestLongDirectory(t *testing.T) {
	base := t.TempDir()
	for length := max(80, len(base)+2); length < 100; length++ {
		dir := filepath.Join(base, strings.Repeat("d", length-len(base)-1))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		url := "zmq+ipc://" + dir
		node := dial(t, url)
		_, err := node.Listen(within(t, limit), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}, Prefetch: 1})
		if err != nil {
			t.Logf("%d bytes: %v", length, err)
			return
		}
		if err := send(t, dial(t, url), targetOf("work"), "x"); err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
	}
}
