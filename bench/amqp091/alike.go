package amqp091

import (
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// id is as long as the driver's.
const id = "0123456789abcdef0123456789abcdef"

// alikeRequest returns a call of oslo.messaging's with a text as its argument.
func alikeRequest(replyTo string, text []byte) (amqp.Publishing, error) {
	p, err := alike(&messaging.Envelope{
		Kind: messaging.KindRPC, ID: id, CallID: id, ReplyTo: replyTo, Method: "echo", Version: "1.0",
		Timeout: time.Minute, Body: fmt.Appendf(nil, `{"text":%q}`, text),
	})
	p.ReplyTo, p.Expiration = replyTo, "60000"
	return p, err
}

// alikeReply returns the reply that has the text as its result.
func alikeReply(text []byte) (amqp.Publishing, error) {
	return alike(&messaging.Envelope{
		Kind: messaging.KindReply, ID: id, CallID: id, Final: true, Body: fmt.Appendf(nil, `%q`, text),
	})
}

func alike(e *messaging.Envelope) (amqp.Publishing, error) {
	var m messaging.Message
	if err := wire.Oslo(1<<30).Encode(e, &m); err != nil {
		return amqp.Publishing{}, err
	}
	return amqp.Publishing{
		ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, DeliveryMode: amqp.Persistent, Body: m.Body,
	}, nil
}
