//go:build !unix

package coalesce

import "net"

func newImmediate(net.Conn) immediate { return nil }
