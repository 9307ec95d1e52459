package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchbay-go/patchbay/internal/spelling"
	"github.com/patchbay-go/patchbay/messaging"
)

// addTargetFlags adds the flags that name whom a command talks to.
func addTargetFlags(cmd *cobra.Command, t *messaging.Target) {
	f := cmd.Flags()
	f.StringVar(&t.Topic, "topic", "", "`name` of the service (required)")
	f.StringVar(&t.Exchange, "exchange", "", "`name` of the exchange that scopes the topic (default: the driver's)")
	f.StringVar(&t.Server, "server", "", "`name` of one server of the topic")
	_ = cmd.MarkFlagRequired("topic") // fails for an undefined flag only
}

// addEndpointFlags adds the flags that choose an endpoint inside a server.
func addEndpointFlags(cmd *cobra.Command, t *messaging.Target, version string) {
	cmd.Flags().StringVar(&t.Namespace, "namespace", "", "`name` of the endpoint's namespace (default: none)")
	cmd.Flags().StringVar(&t.Version, "version", version, "`version` of the endpoint's interface, such as 1.4")
}

// positive is a flag for a duration above zero.
type positive struct{ d *time.Duration }

func addTimeoutFlag(cmd *cobra.Command, d *time.Duration, value time.Duration, usage string) {
	*d = value
	cmd.Flags().Var(positive{d}, "timeout", usage)
}

// String returns the duration; "" for none, so that --help shows no default.
func (p positive) String() string {
	if p.d == nil || *p.d == 0 {
		return ""
	}
	return p.d.String()
}

// Type is the word for the value in --help.
func (p positive) Type() string { return "duration" }

// Set parses a duration.
func (p positive) Set(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return fmt.Errorf("want a duration such as 5s or 250ms")
	case d <= 0:
		return fmt.Errorf("want more than zero")
	}
	*p.d = d
	return nil
}

// choice is a flag whose value is one of a few words.
type choice struct {
	value   string
	choices []string
}

// addChoiceFlag adds a flag; its first choice is the default.
func addChoiceFlag(cmd *cobra.Command, name, usage string, choices ...string) *choice {
	c := &choice{value: choices[0], choices: choices}
	cmd.Flags().Var(c, name, usage)
	completeWith(cmd, name, choices)
	return c
}

// completeWith lets shells complete a flag's value with one of the words.
func completeWith(cmd *cobra.Command, flag string, words []string) {
	complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc(flag, complete) // fails for an undefined flag, or a second time, only
}

// String returns the value.
func (c *choice) String() string { return c.value }

// Type is the word for the value in --help.
func (c *choice) Type() string { return strings.Join(c.choices, "|") }

// Set accepts one of the choices.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.choices, s) {
		return fmt.Errorf("want %s", strings.Join(c.choices, " or "))
	}
	c.value = s
	return nil
}

// suggestFlag adds the nearest flag's name to the error about an unknown one;
// cobra does that for commands only.
func suggestFlag(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	best, distance := "", 3
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := spelling.Distance(unknown.GetSpecifiedName(), f.Name); d < distance && !f.Hidden {
			best, distance = f.Name, d
		}
	})
	if best == "" {
		return fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help")
	}
	return fmt.Errorf("%w; did you mean --%s?", err, best)
}
