package link

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/go-zeromq/zmq4"
)

// Credentials are a user name and a password, of up to 255 bytes each.
type Credentials struct{ Username, Password string }

// equal compares in a time that tells nothing of either.
func (c Credentials) equal(username, password []byte) bool {
	same := func(a, b []byte) int {
		x, y := sha256.Sum256(a), sha256.Sum256(b)
		return subtle.ConstantTimeCompare(x[:], y[:])
	}
	return same([]byte(c.Username), username)&same([]byte(c.Password), password) == 1
}

// Security says how the peers know each other: nil for ZMTP's mechanism NULL,
// which is not at all, else PLAIN with these credentials. It is asked at each
// handshake, so that they can rotate.
type Security func(ctx context.Context) (Credentials, error)

// mechanism returns the zmq4.Security of one handshake.
func (s Security) mechanism(ctx context.Context) (zmq4.Security, error) {
	if s == nil {
		return null{}, nil
	}
	c, err := s(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for credentials: %w", err)
	}
	if len(c.Username) > 255 || len(c.Password) > 255 {
		return nil, fmt.Errorf("%w: ZMTP's PLAIN takes 255 bytes of user name and of password", ErrLimit)
	}
	return &plain{credentials: c}, nil
}

// unencrypted is what NULL and PLAIN have in common: traffic is not encrypted.
type unencrypted struct{}

func (unencrypted) Encrypt(w io.Writer, data []byte) (int, error) { return w.Write(data) }
func (unencrypted) Decrypt(w io.Writer, data []byte) (int, error) { return w.Write(data) }

// null is ZMTP's mechanism NULL (RFC 23). zmq4 has one that it does not export.
type null struct{ unencrypted }

func (null) Type() zmq4.SecurityType { return zmq4.NullSecurity }

func (null) Handshake(c *zmq4.Conn, _ bool) error {
	if err := sendMetadata(c, zmq4.CmdReady); err != nil {
		return err
	}
	return receiveMetadata(c, zmq4.CmdReady)
}

// plain is ZMTP's mechanism PLAIN (RFC 24). That of zmq4 takes any password.
type plain struct {
	unencrypted
	credentials Credentials
}

func (*plain) Type() zmq4.SecurityType { return zmq4.PlainSecurity }

func (p *plain) Handshake(c *zmq4.Conn, server bool) error {
	if server {
		return p.accept(c)
	}
	hello := append([]byte{byte(len(p.credentials.Username))}, p.credentials.Username...)
	hello = append(append(hello, byte(len(p.credentials.Password))), p.credentials.Password...)
	if err := c.SendCmd(zmq4.CmdHello, hello); err != nil {
		return err
	}
	if _, err := receive(c, zmq4.CmdWelcome); err != nil {
		return err
	}
	if err := sendMetadata(c, zmq4.CmdInitiate); err != nil {
		return err
	}
	return receiveMetadata(c, zmq4.CmdReady)
}

func (p *plain) accept(c *zmq4.Conn) error {
	body, err := receive(c, zmq4.CmdHello)
	if err != nil {
		return err
	}
	username, rest, ok := cutShort(body)
	password, rest, also := cutShort(rest)
	if !ok || !also || len(rest) > 0 {
		return fmt.Errorf("%w: malformed credentials", ErrProtocol)
	}
	if !p.credentials.equal(username, password) {
		const reason = "Invalid username or password"
		_ = c.SendCmd(zmq4.CmdError, append([]byte{byte(len(reason))}, reason...))
		return fmt.Errorf("%w: a client's user name or password is wrong", ErrAuth)
	}
	if err := c.SendCmd(zmq4.CmdWelcome, nil); err != nil {
		return err
	}
	if err := receiveMetadata(c, zmq4.CmdInitiate); err != nil {
		return err
	}
	return sendMetadata(c, zmq4.CmdReady)
}

// cutShort cuts off bytes behind their length in one byte.
func cutShort(b []byte) (field, rest []byte, ok bool) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return nil, nil, false
	}
	return b[1 : 1+b[0]], b[1+b[0]:], true
}

// receive returns the body of the next command, which must be that one.
func receive(c *zmq4.Conn, want string) ([]byte, error) {
	cmd, err := c.RecvCmd()
	switch {
	case err != nil:
		return nil, err
	case cmd.Name == zmq4.CmdError:
		reason, _, _ := cutShort(cmd.Body)
		return nil, fmt.Errorf("%w: it says %.100q", ErrAuth, reason)
	case cmd.Name != want:
		return nil, fmt.Errorf("%w: the command %.20q, want %s", ErrProtocol, cmd.Name, want)
	}
	return cmd.Body, nil
}

func sendMetadata(c *zmq4.Conn, command string) error {
	metadata, err := c.Meta.MarshalZMTP()
	if err != nil {
		return err
	}
	return c.SendCmd(command, metadata)
}

func receiveMetadata(c *zmq4.Conn, command string) error {
	body, err := receive(c, command)
	if err != nil {
		return err
	}
	return c.Peer.Meta.UnmarshalZMTP(body)
}
