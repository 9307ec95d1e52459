package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/osloconf"
)

// urlVariable names the environment variable that stands in for --url, so that
// a password need not be seen in a list of processes.
const urlVariable = "PATCHBAY_URL"

// connection is how a command reaches its transport: by a URL, or by files of
// oslo.config.
type connection struct {
	app   *app
	url   string
	files []string

	conf *osloconf.Config // what the files say; nil with a URL, and before resolve
}

// opener opens a transport.
type opener func(ctx context.Context, opts *messaging.Options) (*messaging.Transport, error)

// addURLFlag adds --url. The variable is read late: as a default it would be printed
// by --help.
func (a *app) addURLFlag(cmd *cobra.Command) *connection {
	c := &connection{app: a}
	cmd.Flags().StringVar(&c.url, "url", "", "transport `URL` (default: $"+urlVariable+")")
	return c
}

// addConnectionFlags adds --url and --config.
func (a *app) addConnectionFlags(cmd *cobra.Command) *connection {
	c := a.addURLFlag(cmd)
	c.addConfigFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("url", "config")
	return c
}

func (c *connection) addConfigFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&c.files, "config", nil,
		"read the transport from this oslo.config `FILE`, or the *.conf files of a directory; repeatable, later ones go first")
}

// rawURL returns the URL that was given.
func (c *connection) rawURL() (string, error) {
	url := c.url
	if url == "" {
		url = os.Getenv(urlVariable)
	}
	if url == "" {
		return "", usagef("no transport URL: give --url URL, or set %s", urlVariable)
	}
	return url, nil
}

// resolve returns what opens the transport for requests, or that for
// notifications. What in the files has no effect is told on stderr.
func (c *connection) resolve(notifications bool) (opener, error) {
	if len(c.files) == 0 {
		url, err := c.rawURL()
		if err != nil {
			return nil, err
		}
		return c.app.byURL(url), nil
	}
	conf, err := osloconf.Read(c.files, &osloconf.Options{Env: os.LookupEnv})
	if err != nil {
		return nil, &usageError{err}
	}
	c.conf = conf
	for _, n := range conf.Notes {
		c.app.warn(n.String())
	}
	open := conf.Open
	if notifications {
		open = conf.OpenNotifications
	}
	return func(ctx context.Context, opts *messaging.Options) (*messaging.Transport, error) {
		return open(ctx, c.app.registry, opts)
	}, nil
}

// byURL returns what opens the transport of a URL.
func (a *app) byURL(url string) opener {
	return func(ctx context.Context, opts *messaging.Options) (*messaging.Transport, error) {
		return a.registry.Open(ctx, url, opts)
	}
}

// warn tells on stderr, as a line of JSON, what does not keep the command from its
// work.
func (a *app) warn(text string) {
	l := &lines{w: a.stderr}
	_ = l.print(field{"warning", redact(text)}) // stderr is gone: so is who would read it
}

// withTransport opens a transport, lets fn use it and closes it. The goodbye
// is short: what mattered was waited for by fn.
func (a *app) withTransport(ctx context.Context, open opener, level slog.Level, fn func(*messaging.Transport) error) error {
	log := a.logger(level)
	t, err := open(ctx, &messaging.Options{
		Logger:     log,
		BackoffMax: backoffMax,
		Trace:      &messaging.Trace{Dialed: logDial(log)},
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := t.Close(ctx); err != nil {
			log.Warn("closing the transport", "error", err)
		}
	}()
	return fn(t)
}
