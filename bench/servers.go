package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
)

// servers are those of one run, here or in another process.
type servers interface {
	// mark waits until they have handled n messages in all, and returns what
	// their process has used.
	mark(ctx context.Context, n int64) (usage, error)
	Closer
}

// here are servers in this process.
type here struct {
	tally   Tally
	closers []Closer
}

func serveHere(ctx context.Context, sys System, s *Spec) (*here, error) {
	h := &here{}
	limited, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	for n := range s.Servers {
		c, err := sys.Serve(limited, s, n, &h.tally)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("starting server %d: %w", n, err), closeWithin(ctx, h))
		}
		h.closers = append(h.closers, c)
	}
	return h, nil
}

func (h *here) mark(ctx context.Context, n int64) (usage, error) {
	limited, cancel := context.WithTimeoutCause(ctx, drainTime, ErrUnhandled)
	defer cancel()
	if err := h.tally.await(limited, n); err != nil {
		return usage{}, fmt.Errorf("%w: %d of %d after %v", err, h.tally.Load(), n, drainTime)
	}
	return used(), nil
}

// Close implements Closer.
func (h *here) Close(ctx context.Context) error {
	errs := make([]error, len(h.closers))
	var wg sync.WaitGroup
	for i, c := range h.closers {
		wg.Go(func() { errs[i] = c.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// The server process reads one order and then questions, each a JSON object,
// and gives an answer to each. It ends when its input does, so that it never
// outlives who started it. The order does not go through arguments, because
// the URL may hold a password.
type (
	order struct {
		System string `json:"system"`
		Spec   Spec   `json:"spec"`
	}
	question struct {
		Handled int64 `json:"handled"` // wait until that many messages were
	}
	answer struct {
		Used  usage  `json:"used"`
		Error string `json:"error,omitempty"`
	}
)

// ServeProcess is what the server process does: it takes an order from in,
// answers on out, and returns when in ends and the servers have.
func ServeProcess(ctx context.Context, systems map[string]System, in io.Reader, out io.Writer) (err error) {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	var o order
	if err := dec.Decode(&o); err != nil {
		return fmt.Errorf("reading what to serve: %w", err)
	}
	sys := systems[o.System]
	if sys == nil {
		return enc.Encode(answer{Error: fmt.Sprintf("no system is called %q", o.System)})
	}
	h, err := serveHere(ctx, sys, &o.Spec)
	if err != nil {
		return enc.Encode(answer{Error: err.Error()})
	}
	defer func() { err = errors.Join(err, closeWithin(ctx, h)) }()
	stop, err := profile(o.Spec.Profile, "server")
	if err != nil {
		return enc.Encode(answer{Error: err.Error()})
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := enc.Encode(answer{}); err != nil {
		return err
	}
	for {
		var q question
		if err := dec.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		a := answer{}
		if a.Used, err = h.mark(ctx, q.Handled); err != nil {
			a.Error = err.Error()
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
}

// process is the server process, seen from the one that started it.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	enc   *json.Encoder
	dec   *json.Decoder
	ended func() error // waits for the process
}

func (r *Runner) startProcess(ctx context.Context, system string, s *Spec) (*process, error) {
	if r.Process == nil {
		return nil, fmt.Errorf("%w: %s needs a server process", ErrSpec, system)
	}
	cmd, err := r.Process(ctx)
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server process: %w", err)
	}
	p := &process{cmd: cmd, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(out), ended: sync.OnceValue(cmd.Wait)}
	if _, err := p.ask(order{System: system, Spec: *s}); err != nil {
		return nil, errors.Join(err, closeWithin(ctx, p))
	}
	return p, nil
}

// ask puts an order or a question and returns the answer.
func (p *process) ask(what any) (answer, error) {
	var a answer
	err := p.enc.Encode(what)
	if err == nil {
		err = p.dec.Decode(&a)
	}
	switch {
	case err != nil:
		return a, fmt.Errorf("%w: %w", ErrServer, err)
	case a.Error != "":
		return a, fmt.Errorf("%w: %s", ErrServer, a.Error)
	}
	return a, nil
}

func (p *process) mark(_ context.Context, n int64) (usage, error) {
	a, err := p.ask(question{Handled: n})
	return a.Used, err
}

// Close ends the process: it drains when its input ends. What it has not done
// when ctx ends is not done.
func (p *process) Close(ctx context.Context) error {
	_ = p.in.Close() // it may have ended by itself
	kill := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer kill()
	if err := p.ended(); err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	return nil
}
