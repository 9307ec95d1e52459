// Package fakeharness makes the conformance suite's Harness for the in-memory
// driver. It is apart from that driver so that no application links the suite,
// and apart from the suite because that knows no driver.
package fakeharness

import (
	"context"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/conformance"
	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

// Options are what a harness can be made with; the zero value is all defaults.
type Options struct {
	MaxMessage int64  // of the broker; default: its own
	Query      string // options of the URL: "wire=oslo"
	Transport  *messaging.Options

	// Wrap puts something between the core and the driver; it may change the URL.
	Wrap func(messaging.Driver, *messaging.URL) messaging.Driver
}

const (
	credentials = "guest:In-m3mory-s3cret" // told from all other text by who looks for secrets
	silence     = 2 * time.Second          // the heartbeat that the fake does not have
)

// New returns a harness for a broker of its own. Its hosts are up, second and
// down.
func New(o Options) conformance.Harness {
	broker := fake.New(&fake.Options{MaxMessage: o.MaxMessage})
	username, password, _ := strings.Cut(credentials, ":")
	broker.SetPassword(username, password)
	broker.RefuseHost("down", true)
	l := &link{broker: broker}

	query := ""
	if o.Query != "" {
		query = "?" + o.Query
	}
	url := func(hosts ...string) string {
		for i, h := range hosts {
			hosts[i] = credentials + "@" + h
		}
		return "fake://" + strings.Join(hosts, ",") + "/" + query
	}
	h := conformance.FromURL(messaging.Registry{"fake": l.opener(o.Wrap)}, url("up"), o.Transport)
	h.Unreachable, h.Failover = url("down"), url("down", "second")
	h.Broker = "in memory"
	h.Silence = silence
	h.Fault = l.faults()
	h.DeadLetters = func(_ context.Context, topic string) (int, error) {
		n := 0
		for _, letter := range broker.DeadLetters() {
			if strings.HasPrefix(letter.To.Topic, topic) {
				n++
			}
		}
		return n, nil
	}
	return h
}

func (l *link) opener(wrap func(messaging.Driver, *messaging.URL) messaging.Driver) messaging.Opener {
	return func(u *messaging.URL, o *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		changed := *u
		var d messaging.Driver = &driver{Driver: l.broker.Driver(o), link: l}
		if wrap != nil {
			d = wrap(d, &changed)
		}
		_, codecs, err := l.broker.Open(&changed, o)
		return d, codecs, err
	}
}
