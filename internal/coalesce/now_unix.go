//go:build unix

package coalesce

import (
	"errors"
	"net"
	"syscall"
)

// socket tries writes on a socket of the system. It is for one goroutine at a time.
type socket struct {
	raw  syscall.RawConn
	f    func(fd uintptr) bool // its method write, bound once
	data []byte
	n    int
	err  error
}

// newImmediate returns nil for what is no such socket, such as TLS.
func newImmediate(nc net.Conn) immediate {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.f = s.write
	return s
}

func (s *socket) write(fd uintptr) bool {
	s.n, s.err = syscall.Write(int(fd), s.data)
	return true // do not wait until it can be written
}

// try implements immediate. An error of the RawConn itself, such as a write
// deadline that is over, is left to the next real write.
func (s *socket) try(b []byte) (int, error) {
	s.data, s.n, s.err = b, 0, nil
	err := s.raw.Write(s.f)
	s.data = nil
	switch {
	case err != nil:
		return 0, nil //nolint:nilerr // see above
	case errors.Is(s.err, syscall.EAGAIN) || errors.Is(s.err, syscall.EINTR):
		return max(s.n, 0), nil
	}
	return max(s.n, 0), s.err
}
