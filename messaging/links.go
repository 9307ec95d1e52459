package messaging

import "time"

// links is the Links of a Transport: what a driver without a broker tells of its
// links is counted and traced as connections are.
type links Transport

var _ Links = (*links)(nil)

// Dialed implements Links.
func (l *links) Dialed(host string, attempt int, took time.Duration, err error) {
	l.count.dials.Add(1)
	if err != nil {
		l.count.dialFailures.Add(1)
	}
	if f := l.opts.Trace.Dialed; f != nil {
		f(host, attempt, took, err)
	}
}

// Up implements Links.
func (l *links) Up() { l.count.links.Add(1) }

// Down implements Links. Links can be many, and a stranger may end as many as he
// opens: so their log has a limit.
func (l *links) Down(host string, err error) {
	l.count.links.Add(-1)
	if err == nil {
		return
	}
	l.count.connsLost.Add(1)
	l.noise.warn("patchbay: lost a link", "host", host, "error", err)
	if f := l.opts.Trace.ConnLost; f != nil {
		f(host, err)
	}
}
