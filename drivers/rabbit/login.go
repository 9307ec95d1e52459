package rabbit

import (
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// login is one SASL mechanism with its credentials.
type login struct {
	amqp.Authentication
	properties amqp.Table // the client's, which the library is about to send
}

// logins returns the mechanisms to try, the first that the broker offers. No
// credentials at all are guest's, as in oslo.messaging.
func logins(method string, c messaging.Credentials, properties amqp.Table) []amqp.Authentication {
	if c == (messaging.Credentials{}) {
		c = messaging.Credentials{Username: "guest", Password: "guest"}
	}
	plain := &amqp.PlainAuth{Username: c.Username, Password: c.Password}
	amqplain := &amqp.AMQPlainAuth{Username: c.Username, Password: c.Password}

	var all []amqp.Authentication
	switch method {
	case loginPlain:
		all = []amqp.Authentication{plain}
	case loginAMQPlain:
		all = []amqp.Authentication{amqplain}
	case loginExternal:
		all = []amqp.Authentication{&amqp.ExternalAuth{}}
	default:
		all = []amqp.Authentication{amqplain, plain}
	}
	for i, a := range all {
		all[i] = &login{a, properties}
	}
	return all
}

// Response returns the credentials for the wire. It is called when the library
// has just set the capabilities that it announces, and adds one: that the
// broker says why it refuses a login. Without it the broker hangs up, which
// cannot be told from a broker that is going down, and one of the two is final.
func (l *login) Response() string {
	if capabilities, ok := l.properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return l.Authentication.Response()
}
