package routing_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/notify/routing"
)

// drivers returns drivers a, b and c, which note that they were called.
func drivers(called *[]string) map[string]notify.Driver {
	all := map[string]notify.Driver{}
	for _, name := range []string{"a", "b", "c"} {
		all[name] = notify.DriverFunc(func(context.Context, *notify.Notification) error {
			*called = append(*called, name)
			return nil
		})
	}
	return all
}

func TestRules(t *testing.T) {
	t.Parallel()
	const rules = `
group_1:
  a:
    accepted_events:
      - compute.instance.*
      - volume.?ttach
    accepted_priorities: [INFO, err*]
  b:
    accepted_priorities: ['*']
    accepted_events: ['[a-c]*']
group_2:
  a: {accepted_events: [snapshot]}
  c: {}
  b:
    accepted_events: []
`
	for _, tt := range []struct {
		event    string
		priority notify.Priority
		want     []string
	}{
		{"compute.instance.create.end", notify.Info, []string{"a", "b", "c"}},
		{"compute.instance", notify.Info, []string{"b", "c"}},
		{"compute.instance.delete", notify.Debug, []string{"b", "c"}},
		{"volume.attach", notify.Error, []string{"a", "c"}},
		{"volume.attach", notify.Warn, []string{"c"}},
		{"volume.aattach", notify.Error, []string{"c"}},
		{"snapshot", notify.Sample, []string{"a", "c"}},
		{"", notify.Info, []string{"c"}},
	} {
		var called []string
		d, err := routing.Parse([]byte(rules), drivers(&called))
		if err != nil {
			t.Fatal(err)
		}
		if err := notify.NewNotifier("p", []notify.Driver{d}, nil).Notify(t.Context(), tt.priority, tt.event, nil); err != nil {
			t.Fatal(err)
		}
		slices.Sort(called)
		if d := cmp.Diff(tt.want, called); d != "" {
			t.Errorf("%s at %s (-want +got):\n%s", tt.event, tt.priority, d)
		}
	}
}

func TestNoRules(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "# nothing\n", "{}", "group_1: {}"} {
		var called []string
		d, err := routing.Parse([]byte(text), drivers(&called))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if err := d.Notify(t.Context(), &notify.Notification{EventType: "e"}); err != nil || called != nil {
			t.Errorf("%q: %v were called, %v", text, called, err)
		}
	}
}

func TestRulesThatCannotBe(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"- a":                                `cannot unmarshal`,
		"g: {a: {accepted_event: [x]}}":      `accepted_event`,
		"g: {rabbit: {}}":                    `names a driver "rabbit", there are ["a" "b" "c"]`,
		"g: {a: }":                           `has no rules`,
		"g: {a: {accepted_events: compute}}": `cannot unmarshal`,
		"g: {a: {accepted_events: [":         `yaml`,
	} {
		var called []string
		_, err := routing.Parse([]byte(text), drivers(&called))
		if !errors.Is(err, routing.ErrInvalidRules) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one that says %q", text, err, says)
		}
	}
}

func TestErrorsOfDrivers(t *testing.T) {
	t.Parallel()
	errDisk := errors.New("disk full")
	calls := 0
	d, err := routing.Parse([]byte("g: {a: {}, b: {}}"), map[string]notify.Driver{
		"a": notify.DriverFunc(func(context.Context, *notify.Notification) error { return errDisk }),
		"b": notify.DriverFunc(func(context.Context, *notify.Notification) error { calls++; return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Notify(t.Context(), &notify.Notification{}); !errors.Is(err, errDisk) || calls != 1 {
		t.Errorf("error %v, and the other driver was called %d times", err, calls)
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "rules.yaml")
	var called []string
	if _, err := routing.ReadFile(name, drivers(&called)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(name, []byte("g: {x: {}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := routing.ReadFile(name, drivers(&called)); !errors.Is(err, routing.ErrInvalidRules) || !strings.Contains(err.Error(), name) {
		t.Errorf("bad rules: %v", err)
	}
	if err := os.WriteFile(name, []byte("g: {a: {}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := routing.ReadFile(name, drivers(&called)); err != nil {
		t.Error(err)
	}
}
