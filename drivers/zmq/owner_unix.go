//go:build unix

package zmq

import (
	"io/fs"
	"os"
	"syscall"
)

// isOwn reports whether a file belongs to the user that this process runs as.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
