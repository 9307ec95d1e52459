package rabbit

import (
	"fmt"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// directReplyTo is what addresses for direct replies begin with.
const directReplyTo = "amq.rabbitmq.reply-to"

// dangerous reports whether a reply to that address could end the connection:
// before 4.2 the broker fails over an address for direct replies that is not one
// of its own making, and anybody can name one in his request.
func (c *conn) dangerous(address string) bool {
	return strings.HasPrefix(address, directReplyTo) && older(c.version, 4, 2)
}

func refused(to messaging.Address) error {
	return &messaging.OpError{Op: "publishing to", Addr: to.String(), Err: joined(messaging.ErrNoRoute,
		fmt.Errorf("%w: direct replies need RabbitMQ 4.2 or later", messaging.ErrReplyRefused))}
}

// older reports whether a version is known to be below major.minor.
func older(version string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a < major || a == major && b < minor
}
