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
// whose address is not there, or for a peer that does not take them.
const maxLateReplies = 256

// answer sends the reply, and reports whether that is over. With AckEarly the
// worker does not wait for its outcome. If the caller's address is not there, it
// may be reconnecting, but a stranger can make up any number of such addresses: so
// the waiting is done by a goroutine, not by the worker, which then concludes the
// request too.
func (j *job) answer() bool {
	ctx := &j.ctx.reply
	ctx.Init(j.session.Plain, j.patience())
	defer ctx.End(nil)
	if j.server.opts.Ack == AckEarly {
		j.holders.Store(2)
		err := j.server.transport.StartReply(ctx, j.in, j.reply(), j)
		if err == nil {
			j.leave()
			return false
		}
		if !errors.Is(err, messaging.ErrOutcomeUnknown) {
			j.holders.Store(1)
			return j.replied(ctx, err)
		}
	}
	j.holders.Store(1)
	return j.replied(ctx, j.server.transport.ReplyOnce(ctx, j.in, j.reply()))
}

// Complete implements messaging.Completion: it is told the outcome of a reply for
// which nobody waits.
func (j *job) Complete(err error) {
	if err == nil {
		j.leave()
		return
	}
	go j.retry(err) // the driver is not to wait, and to log may take long
}

// retry sends the reply again if it may not have arrived, and leaves.
func (j *job) retry(err error) {
	ctx, cancel := context.WithDeadline(j.session.Plain, j.patience())
	defer cancel()
	switch {
	case errors.Is(err, messaging.ErrOutcomeUnknown):
		err = j.server.transport.ReplyOnce(ctx, j.in, j.reply())
	case errors.Is(err, messaging.ErrNotSent):
		err = j.persist(ctx, err)
	}
	if j.replied(ctx, err) {
		j.leave()
	}
}

// persist sends a reply again that was not sent after all, for as long as the caller
// waits, unless too many others wait already: a peer may never take it.
func (j *job) persist(ctx context.Context, err error) error {
	select {
	case j.server.late <- struct{}{}:
		defer func() { <-j.server.late }()
		return j.server.transport.ReplyOnce(ctx, j.in, j.reply())
	default:
		return err
	}
}

// leave concludes the request when both have left, who sent the reply and who is
// told its outcome: the one may be told before the other has returned.
func (j *job) leave() {
	if j.holders.Add(-1) == 0 {
		j.conclude()
	}
}

// replied handles the outcome of the reply, and reports whether that is over.
func (j *job) replied(ctx context.Context, err error) bool {
	if errors.Is(err, messaging.ErrTooLarge) && j.err == nil {
		j.err = fmt.Errorf("the result cannot be sent: %w", messaging.ErrTooLarge)
		err = j.server.transport.ReplyOnce(ctx, j.in, j.reply())
	}
	if errors.Is(err, messaging.ErrNoRoute) && !errors.Is(err, messaging.ErrReplyRefused) {
		select {
		case j.server.late <- struct{}{}:
			go func() {
				s := j.server
				defer func() { <-s.late }()
				ctx, cancel := context.WithDeadline(j.session.Plain, j.patience())
				defer cancel()
				j.delivered(s.transport.Reply(ctx, j.in, j.reply()))
				j.leave()
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

// reply returns the result or the failure.
func (j *job) reply() *messaging.Envelope {
	j.answered = messaging.Envelope{Final: true, Body: j.result}
	if j.err != nil {
		j.answered.Failed = true
		j.answered.Body = encodeFailure(j.err)
	} else if len(j.result) == 0 {
		j.answered.Body = json.RawMessage("null")
	}
	return &j.answered
}
