package rpc_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestWorkersBoundAndReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rpc.Workers(3)
		if n := w.Concurrency(); n != 3 {
			t.Fatalf("Concurrency %d", n)
		}
		before := runtime.NumGoroutine()
		var running, most, done atomic.Int32
		for range 30 {
			err := w.Execute(t.Context(), func() {
				most.Store(max(most.Load(), running.Add(1)))
				<-time.After(time.Second)
				running.Add(-1)
				done.Add(1)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := runtime.NumGoroutine() - before; n != 3 {
			t.Errorf("%d goroutines, want 3", n)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if done.Load() != 30 || most.Load() != 3 {
			t.Errorf("%d done, %d at once", done.Load(), most.Load())
		}
	})
}

// One worker is enough for tasks that come one after the other, and two tasks that
// come together do not wait for each other.
func TestWorkersAreStartedWhenTheyAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rpc.Workers(64)
		before := runtime.NumGoroutine()
		run := func(task func()) {
			t.Helper()
			if err := w.Execute(t.Context(), task); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			run(func() {})
			synctest.Wait()
		}
		if n := runtime.NumGoroutine() - before; n != 1 {
			t.Errorf("%d goroutines, want 1", n)
		}
		met := make(chan struct{})
		run(func() { met <- struct{}{} })
		run(func() { <-met })
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n != 2 {
			t.Errorf("%d goroutines, want 2", n)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWorkersWaitForRoomUnderContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rpc.Workers(1)
		release := make(chan struct{})
		if err := w.Execute(t.Context(), func() { <-release }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Execute(ctx, func() { t.Error("it ran") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Execute without room: %v", err)
		}
		if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close while a task runs: %v", err)
		}
		if err := w.Execute(t.Context(), func() { t.Error("it ran") }); !errors.Is(err, messaging.ErrClosed) {
			t.Errorf("Execute after Close: %v", err)
		}
		close(release)
		if err := w.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}

func TestWorkersSurviveGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rpc.Workers(1)
		var ran atomic.Int32
		for range 5 {
			if err := w.Execute(t.Context(), func() { ran.Add(1); runtime.Goexit() }); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ran.Load() != 5 {
			t.Errorf("%d ran", ran.Load())
		}
	})
}

func TestBlockingRunsInPlace(t *testing.T) {
	b := rpc.Blocking()
	ran := false
	if err := b.Execute(t.Context(), func() { ran = true }); err != nil || !ran || b.Concurrency() != 1 || b.Close(t.Context()) != nil {
		t.Errorf("ran %v, %v", ran, err)
	}
}
