package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
)

// tap is the command tap.
type tap struct {
	*audience
	fanout  bool
	compact bool
	json    bool
	out     io.Writer
	color   bool
}

func (a *app) tapCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tap --url URL [--topic TOPIC]... [--fanout]",
		Short: "Watch notifications or a fanout, and take nothing from anyone",
		Long: `Watch what goes by, live, for people: the notifications of a topic or, with --fanout,
the requests that go to every server of a topic. A queue of its own gets a copy of
each from now on, and is removed in the end: the listeners and servers get all of
theirs.

It ends with SIGTERM or SIGINT, or after --count. What is printed comes from the
network: characters that would act on a terminal are shown as escapes. With --json
each is a line as "patchbay listen" and "patchbay serve" print it.`,
		Example: `  patchbay tap --url rabbit://guest:guest@localhost/
  15:04:05.123 INFO      volume.create.end  volume.host1  req-12
      {
          "id": "v-42"
      }

  patchbay tap --config /etc/nova/nova.conf --priority error --compact
  patchbay tap --topic compute --exchange nova --fanout`,
		Args: cobra.NoArgs,
	}
	p := &tap{audience: a.newAudience(cmd), out: a.stdout.w}
	f := cmd.Flags()
	f.BoolVar(&p.fanout, "fanout", false, "watch the requests to all servers of the topic")
	f.BoolVar(&p.compact, "compact", false, "print payloads on one line")
	f.BoolVar(&p.json, "json", false, "print lines of JSON")
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error {
		if err := p.check(); err != nil {
			return err
		}
		p.color = isTerminal(p.out) && os.Getenv("NO_COLOR") == ""
		if p.fanout {
			return p.watchFanout(ctx)
		}
		s := show{p.life, p.showNotification}
		if p.json {
			s = show{a.stdout.print, p.printEvent}
		}
		return p.listen(ctx, notify.ListenerOptions{Tap: true}, s)
	})
	return cmd
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// life tells on stderr that it watches: the output is for what goes by.
func (p *tap) life(fields ...field) error {
	l := &lines{w: p.app.stderr}
	return l.print(fields...)
}

// watchFanout shows the requests that go to every server of the topics.
func (p *tap) watchFanout(ctx context.Context) error {
	if len(p.topics) == 0 || len(p.priorities) > 0 || p.filter.EventType != "" || p.filter.PublisherID != "" {
		return usagef("--fanout wants a --topic, and has neither priorities nor events and publishers")
	}
	open, err := p.conn.resolve(false)
	if err != nil {
		return err
	}
	life := p.life
	if p.json {
		life = p.app.stdout.print
	}
	return p.app.withTransport(ctx, open, slog.LevelInfo, func(t *messaging.Transport) error {
		stream, err := p.join(ctx, t)
		if err != nil {
			if ctx.Err() == nil {
				return err
			}
			return life(field{"event", "stopped"})
		}
		if err := life(field{"event", "ready"}, field{"fanout", p.topics}); err != nil {
			return err
		}
		err = p.watch(ctx, stream)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err = errors.Join(err, stream.Close(end)); err != nil {
			return err
		}
		return life(field{"event", "stopped"})
	})
}

// join listens to the fanouts of the topics.
func (p *tap) join(ctx context.Context, t *messaging.Transport) (*messaging.Stream, error) {
	if p.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, p.timeout)
		defer cancel()
		ctx = limited
	}
	caps, err := t.Capabilities(ctx)
	if err != nil {
		return nil, err
	}
	sub := messaging.Subscription{Tap: caps.Taps} // else as one more server would
	for _, topic := range p.topics {
		target := messaging.Target{Exchange: p.exchange, Topic: topic, Fanout: true}
		if err := target.Validate(); err != nil {
			return nil, &usageError{err}
		}
		sub.Sources = append(sub.Sources, target.Address())
	}
	return t.Listen(ctx, sub)
}

// watch shows requests until ctx ends or there were enough.
func (p *tap) watch(ctx context.Context, s *messaging.Stream) error {
	for shown := 0; p.count == 0 || shown < p.count; shown++ {
		in, err := s.Poll(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it is the end that was asked for
		default:
			return err
		}
		if err := p.showRequest(in, p.topics[min(in.Source, len(p.topics)-1)]); err != nil {
			return err
		}
		if err := in.Settle(context.WithoutCancel(ctx), messaging.Ack); err != nil && !errors.Is(err, messaging.ErrConnLost) {
			return err
		}
	}
	return nil
}

// showNotification prints a notification for people.
func (p *tap) showNotification(n *notify.Notification) error {
	at := printable(n.Timestamp)
	if t, err := n.Time(); err == nil {
		at = t.Local().Format(clock)
	}
	var id string
	_, _ = n.Value("request_id", &id) // it is there, or it is not
	return p.show(at, string(n.Priority), []string{n.EventType, n.PublisherID, id}, n.Payload)
}

// showRequest prints a request.
func (p *tap) showRequest(in *messaging.Incoming, topic string) error {
	args := json.RawMessage(in.Body)
	if p.json {
		values, err := contextObject(in.Context)
		if err != nil {
			return err
		}
		return p.app.stdout.print(
			field{"event", "fanout"}, field{"method", in.Method}, field{"args", args}, field{"context", values},
			field{"namespace", orNull(in.Namespace)}, field{"version", orNull(in.Version)}, field{"topic", topic},
		)
	}
	name := in.Method
	if in.Namespace != "" {
		name = in.Namespace + "." + name
	}
	var id string
	for _, e := range in.Context {
		if e.Key == "request_id" {
			_ = json.Unmarshal(e.Value, &id) // it is a text, or none
		}
	}
	return p.show(time.Now().Format(clock), "fanout", []string{name, "version " + in.Version, topic, id}, args)
}

const clock = "15:04:05.000"

// show prints a line of words and, below it, a body.
func (p *tap) show(at, kind string, words []string, body json.RawMessage) error {
	var b strings.Builder
	kind = fmt.Sprintf("%-9s", strings.ToUpper(printable(kind)))
	if p.color {
		kind = colorOf(kind) + kind + "\x1b[0m"
	}
	b.WriteString(at + " " + kind)
	for _, w := range words {
		if w != "" {
			b.WriteString(" " + printable(w) + " ")
		}
	}
	text := strings.TrimRight(b.String(), " ")
	if p.compact {
		text += "  " + printable(string(body))
	} else {
		text += "\n    " + pretty(body)
	}
	if _, err := io.WriteString(p.out, text+"\n"); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// colorOf returns the escape that begins a color.
func colorOf(kind string) string {
	switch strings.TrimSpace(kind) {
	case "CRITICAL", "ERROR":
		return "\x1b[31m"
	case "WARN":
		return "\x1b[33m"
	case "DEBUG":
		return "\x1b[2m"
	}
	return "\x1b[32m"
}

// pretty indents JSON. What is none, because Python wrote its NaN, stays on a line.
func pretty(body json.RawMessage) string {
	var b bytes.Buffer
	if len(body) <= 2 || json.Indent(&b, body, "    ", "    ") != nil {
		return printable(string(body))
	}
	all := strings.Split(b.String(), "\n")
	for i := range all {
		all[i] = printable(all[i])
	}
	return strings.Join(all, "\n")
}

// printable returns s with everything that a terminal would obey, or that would
// only look like something else, as an escape.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
