package zmq

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/patchbay-go/patchbay/messaging"
)

// listen binds the node's endpoint. remove undoes what that left in the file
// system.
func (c *conn) listen(ctx context.Context) (ln net.Listener, remove func(), err error) {
	if c.o.directory != "" {
		return c.listenUnix(ctx)
	}
	ln, err = c.listenTCP(ctx)
	return ln, func() {}, err
}

// listenTCP binds the first address that is possible.
func (c *conn) listenTCP(ctx context.Context) (net.Listener, error) {
	addresses := c.o.bind
	if addresses == nil {
		if c.o.connector != nil {
			return nil, fmt.Errorf("%w: with this discovery a node that listens must say where: add bind=host:port to the URL", messaging.ErrPermanent)
		}
		addresses = c.o.expand(c.hosts)
	}
	var errs []error
	elsewhere := true
	for _, a := range addresses {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", a.String())
		if err == nil {
			return ln, nil
		}
		if !errors.Is(err, syscall.EADDRNOTAVAIL) {
			elsewhere = false
		}
		errs = append(errs, err)
	}
	err := fmt.Errorf("no host of the URL is on this machine and free: %w", errors.Join(errs...))
	if elsewhere {
		err = fmt.Errorf("%w: %w; add bind=host:port to the URL", messaging.ErrPermanent, err)
	}
	return nil, err
}

// socketMode lets nobody else in.
const socketMode = 0o700

// listenUnix makes a socket in the directory. It gets its name when it listens,
// so that who finds one that refuses connections has found a dead one.
func (c *conn) listenUnix(ctx context.Context) (net.Listener, func(), error) {
	dir := c.o.directory
	if err := os.MkdirAll(dir, socketMode); err != nil {
		return nil, nil, fmt.Errorf("%w: making the directory of sockets: %w", messaging.ErrPermanent, err)
	}
	if err := c.checkPrivate(dir, false); err != nil {
		return nil, nil, err
	}
	sweepSockets(ctx, dir)
	name := hex.EncodeToString(c.id[:8])
	path, hidden := filepath.Join(dir, name+".sock"), filepath.Join(dir, "."+name+".new") // as long: both must fit into an address
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", hidden)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Rename(hidden, path); err != nil {
		_ = ln.Close()
		_ = os.Remove(hidden)
		return nil, nil, fmt.Errorf("naming a socket: %w", err)
	}
	c.bound(path)
	return ln, func() { _ = os.Remove(path) }, nil
}

// checkPrivate refuses a directory that others can put sockets into, or take them
// from. Root may dial into those of other users, as it may into everything.
func (c *conn) checkPrivate(dir string, dialling bool) error {
	if c.o.insecure {
		return nil
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("looking at the directory of sockets: %w", err)
	case info.Mode().Perm()&^socketMode != 0:
		return fmt.Errorf("%w: others can reach into %s (mode %04o): make it 0700, or say insecure=true",
			messaging.ErrPermanent, dir, info.Mode().Perm())
	case !isOwn(info) && !(dialling && os.Geteuid() == 0):
		return fmt.Errorf("%w: %s belongs to another user: use a directory of your own, or say insecure=true", messaging.ErrPermanent, dir)
	}
	return nil
}

// sweepSockets removes the sockets of nodes that died. One that takes a connection
// is alive, and one that does not answer may be.
func sweepSockets(ctx context.Context, dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.sock"))
	if err != nil {
		return
	}
	for _, path := range paths {
		nc, err := new(net.Dialer).DialContext(ctx, "unix", path)
		switch {
		case err == nil:
			_ = nc.Close()
		case errors.Is(err, syscall.ECONNREFUSED):
			_ = os.Remove(path)
		}
	}
}

// bound notes where a socket was bound in the file system.
func (c *conn) bound(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.path = path
}

// endpoint returns what others dial, once the node is bound.
func (c *conn) endpoint() string {
	c.mu.Lock()
	path := c.path
	c.mu.Unlock()
	if path != "" {
		return "ipc://" + path
	}
	at := c.o.advertise
	host, port, _ := net.SplitHostPort(c.server.addr())
	if at.Host == "" {
		at.Host = host
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			if name, err := os.Hostname(); err == nil {
				at.Host = name
			}
		}
	}
	if at.Port == 0 {
		at.Port, _ = strconv.Atoi(port) // of a listener, so a number
	}
	return "tcp://" + at.String()
}

// staticEndpoints are those that the URL names.
func (c *conn) staticEndpoints() []string {
	var all []string
	for _, h := range c.o.expand(c.hosts) {
		all = append(all, "tcp://"+strings.TrimSpace(h.String()))
	}
	return all
}
