package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// monitor sends heartbeats to a caller that asked for them, one every half of
// the time after which it takes the server for lost.
type monitor struct {
	stop context.CancelFunc
	done chan struct{}
}

// startMonitor begins. Heartbeats end when the monitor is ended, or when the
// caller is gone: it said so, or they cannot be delivered any more. Then
// callerGone is called with the reason.
func (s *Server) startMonitor(ctx context.Context, in *messaging.Incoming, callerGone func(error)) *monitor {
	ctx, cancel := context.WithCancel(ctx)
	m := &monitor{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		w, err := s.transport.Watch(in)
		if err != nil { // the transport is closed
			callerGone(err)
			return
		}
		defer w.Close()
		ticker := time.NewTicker(w.Interval())
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-w.Gone():
			case <-ctx.Done():
				return
			}
			select {
			case <-w.Gone(): // also if a heartbeat is due
				callerGone(errCallerLeft)
				return
			default:
			}
			if err := w.Beat(ctx); ctx.Err() == nil && isCallerGone(err) {
				callerGone(err)
				return
			}
		}
	}()
	return m
}

// errCallerLeft is the cause of the context of a handler whose caller gave up.
var errCallerLeft = fmt.Errorf("%w: the caller does not wait any more", context.Canceled)

// isCallerGone reports whether err, of a heartbeat, means that no reply will
// reach the caller either: its address is not there, or the transport is closed.
// Others may pass.
func isCallerGone(err error) bool {
	return errors.Is(err, messaging.ErrReplyRefused) || errors.Is(err, messaging.ErrNoRoute) || errors.Is(err, messaging.ErrClosed)
}

// end returns when no heartbeat will be sent any more.
func (m *monitor) end() {
	m.stop()
	<-m.done
}
