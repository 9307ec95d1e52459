package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// Dial opens a link to an address. It makes one attempt, of at most
// Options.Handshake for the connection and as much for the handshake. ok is asked
// about the connection before anything is sent.
func Dial(ctx context.Context, network, address string, tlsConfig *tls.Config, security Security, o *Options, ok func(net.Conn) error) (*Link, error) {
	d := net.Dialer{Timeout: o.Handshake}
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if ok != nil {
		if err := ok(nc); err != nil {
			_ = nc.Close()
			return nil, err
		}
	}
	if tlsConfig != nil {
		secure := tls.Client(nc, tlsConfig)
		ctx, cancel := context.WithTimeout(ctx, o.Handshake)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			if ctx.Err() == nil && !isNetwork(err) {
				return nil, fmt.Errorf("%w: %w", ErrTLS, err)
			}
			return nil, hungUp(fmt.Errorf("securing the connection: %w", err))
		}
		nc = secure
	}
	return Open(ctx, nc, false, security, o)
}

// hungUp adds that the peer went away without a word.
func hungUp(err error) error {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", ErrHungUp, err)
	}
	return err
}

// IsAbsent reports whether an error of Dial says that nobody listens at the
// address: the connection was refused, the socket is not there, or a proxy in
// between has nobody to pass it on to.
func IsAbsent(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, ErrHungUp)
}

// IsLoopback reports whether both ends of a connection are on this machine.
func IsLoopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return a.Network() == "pipe"
}
