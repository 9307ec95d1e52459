package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/messaging"
)

// maxLateReplies bounds the replies that wait, outside the workers, for callers
// whose address is not there.
const maxLateReplies = 256

// answer sends the reply, and reports whether that is over. If the caller's
// address is not there, it may be reconnecting, but a stranger can make up any
// number of such addresses: so the waiting is done by a goroutine, not by the
// worker, which then concludes the request too.
func (j *job) answer() bool {
	ctx := &j.req.reply
	ctx.Init(j.session.Plain, j.patience())
	defer ctx.End(nil)
	err := j.reply(ctx, j.server.transport.ReplyOnce)
	if errors.Is(err, messaging.ErrTooLarge) && j.err == nil {
		j.err = fmt.Errorf("the result cannot be sent: %w", messaging.ErrTooLarge)
		err = j.reply(ctx, j.server.transport.ReplyOnce)
	}
	if errors.Is(err, messaging.ErrNoRoute) && !errors.Is(err, messaging.ErrReplyRefused) {
		select {
		case j.server.late <- struct{}{}:
			go func() {
				s := j.server
				defer func() { <-s.late }()
				ctx, cancel := context.WithDeadline(j.session.Plain, j.patience())
				defer cancel()
				j.delivered(j.reply(ctx, s.transport.Reply))
				j.conclude()
			}()
			return false
		default: // too many wait already
		}
	}
	j.delivered(err)
	return true
}

// delivered counts and tells what became of the reply.
func (j *job) delivered(err error) {
	if err == nil {
		return
	}
	j.server.stats.repliesLost.Add(1)
	if errors.Is(err, messaging.ErrReplyRefused) { // the transport warns, once for each address
		j.log(slog.LevelDebug, "patchbay: a reply was not delivered", slog.Any("error", serving.Brief{Err: err}))
		return
	}
	j.complain(&j.server.noise.replies, slog.LevelWarn, "patchbay: a reply was not delivered", err)
}

// patience returns until when a reply is sent: as long as the caller waits, or,
// when that is not known, for DefaultTimeout. It does not end with the drain's
// deadline: the caller of a handler that was cancelled then wants to know.
func (j *job) patience() time.Time {
	if !j.in.Deadline.IsZero() {
		return j.in.Deadline
	}
	return time.Now().Add(DefaultTimeout)
}

// reply sends the result or the failure.
func (j *job) reply(ctx context.Context, send func(context.Context, *messaging.Incoming, *messaging.Envelope) error) error {
	j.answered = messaging.Envelope{Final: true, Body: j.result}
	if j.err != nil {
		j.answered.Failed = true
		j.answered.Body = encodeFailure(j.err)
	} else if len(j.result) == 0 {
		j.answered.Body = json.RawMessage("null")
	}
	return send(ctx, j.in, &j.answered)
}
