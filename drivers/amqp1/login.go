package amqp1

import (
	"slices"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

const (
	mechanismPlain     = "PLAIN"
	mechanismAnonymous = "ANONYMOUS"
	mechanismExternal  = "EXTERNAL"
)

// login returns how to authenticate: with the mechanisms that are allowed, of
// which the peer chooses. Without a choice it is PLAIN where there are
// credentials, and else ANONYMOUS: EXTERNAL, by a client's certificate, has to be
// asked for.
func login(allowed []string, c messaging.Credentials) amqp.SASLType {
	if len(allowed) == 0 {
		allowed = []string{mechanismAnonymous}
		if c != (messaging.Credentials{}) {
			allowed = []string{mechanismPlain}
		}
	}
	return func(conn *amqp.Conn) error {
		for _, m := range []struct {
			name string
			add  amqp.SASLType
		}{
			{mechanismPlain, amqp.SASLTypePlain(c.Username, c.Password)},
			{mechanismAnonymous, amqp.SASLTypeAnonymous()},
			{mechanismExternal, amqp.SASLTypeExternal("")},
		} {
			if !slices.Contains(allowed, m.name) {
				continue
			}
			if err := m.add(conn); err != nil {
				return err
			}
		}
		return nil
	}
}
