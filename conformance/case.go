package conformance

import (
	"slices"
	"time"
)

// Level says who owes a case.
type Level string

// The levels.
const (
	LevelMust       Level = "must"  // every driver
	LevelCapability Level = "cap"   // a driver that declares Case.Cap; one that does not is probed
	LevelFault      Level = "fault" // every driver, shown when the Harness has the fault
)

// Levels returns all levels.
func Levels() []Level { return []Level{LevelMust, LevelCapability, LevelFault} }

// Case is one rule of the suite.
type Case struct {
	ID    string // stable: reports of different versions are compared by it
	Group string
	Level Level
	Cap   string // LevelCapability: its name in the JSON form of messaging.Capabilities
	Why   string // one sentence; a failure prints it

	// run tries the rule. For a capability that is not declared, probe is called
	// instead: it must find ErrUnsupported, or, for a fact, that it is indeed not so.
	run   func(*trial)
	probe func(*trial)
	limit time.Duration // the watchdog's, before Scale; default caseLimit
}

// List returns all cases in the order in which they run.
func List() []Case {
	return slices.Concat(
		openCases(),
		castCases(),
		payloadCases(),
		callCases(),
		callStateCases(),
		monitoringCases(),
		fanoutCases(),
		fanoutMemberCases(),
		targetCases(),
		listenCases(),
		flowCases(),
		capabilityCases(),
		deliveryCases(),
		notifyCases(),
		faultCases(),
		recoveryCases(),
		hostileCases(),
		shutdownCases(),
		wholeRunCases(),
	)
}

func known(id string) bool {
	return slices.ContainsFunc(List(), func(c Case) bool { return c.ID == id })
}

// group stamps the group's name on its cases.
func group(name string, cases ...Case) []Case {
	for i := range cases {
		cases[i].Group = name
	}
	return cases
}

// must is a case that every driver owes.
func must(id, why string, run func(*trial)) Case {
	return Case{ID: id, Level: LevelMust, Why: why, run: run}
}

// capability is a case for drivers that declare cap; the others are probed.
func capability(id, capName, why string, run, probe func(*trial)) Case {
	return Case{ID: id, Level: LevelCapability, Cap: capName, Why: why, run: run, probe: probe}
}

// fault is a case for harnesses that can make the fault it needs.
func fault(id, why string, run func(*trial)) Case {
	return Case{ID: id, Level: LevelFault, Why: why, run: run}
}

// within sets the watchdog's limit.
func (c Case) within(limit time.Duration) Case {
	c.limit = limit
	return c
}
