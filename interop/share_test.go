package interop_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// crew is a Python and a Go server on one topic, and a client of each language.
type crew struct {
	py      *pyServer
	golang  *service
	clients map[string]client
}

const crewTopic = "crew"

func startCrew(t *testing.T) *crew {
	t.Helper()
	return startCrewOn(t, vhost(t))
}

func startCrewOn(t *testing.T, url string) *crew {
	t.Helper()
	p := sharedPeer(t)
	return &crew{
		golang:  startService(t, url, crewTopic, "go1"),
		py:      p.serve(t, url, crewTopic, "py1", false),
		clients: map[string]client{"go": goClient{open(t, url)}, "python": pyClient{p, url}},
	}
}

// await returns the arguments of the calls of a method that tells, of both
// servers, when there are n of them.
func (c *crew) await(t *testing.T, method string, n int) (py, golang []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		found, more := c.py.peer.matching(c.py.told("called", method))
		py = nil
		for _, e := range found {
			py = append(py, string(e.Args))
		}
		if len(py)+len(golang) >= n {
			return py, golang
		}
		select {
		case <-more:
		case e := <-c.golang.calls:
			if e.Method == method {
				golang = append(golang, string(e.Args))
			}
		case <-ctx.Done():
			t.Fatalf("%s was called %d times in Python and %d times in Go, want %d in all", method, len(py), len(golang), n)
		}
	}
}

func TestServersShareTheCalls(t *testing.T) {
	t.Parallel()
	c := startCrew(t)
	const calls = 20
	answers := make(map[string]int)
	for language, client := range c.clients {
		for range calls {
			got := client.send(t, request{topic: crewTopic, method: "whoami"})
			if got.kind != "ok" {
				t.Fatalf("call from %s: %+v", language, got)
			}
			answers[got.result]++
		}
	}
	py, golang := c.await(t, "whoami", 2*calls)
	if answers[`"py1"`] != len(py) || answers[`"go1"`] != len(golang) || len(py) == 0 || len(golang) == 0 || len(py)+len(golang) != 2*calls {
		t.Errorf("answers %v of %d calls in Python and %d in Go, want both to share %d, each handled once", answers, len(py), len(golang), 2*calls)
	}
}

func TestServersShareTheCasts(t *testing.T) {
	t.Parallel()
	c := startCrew(t)
	const casts = 10
	var want []string
	for language, client := range c.clients {
		for i := range casts {
			args := fmt.Sprintf(`{"n": %d, "from": "%s"}`, i, language)
			want = append(want, args)
			if got := client.send(t, request{do: "cast", topic: crewTopic, method: "record", args: args}); got.kind != "ok" {
				t.Fatalf("cast from %s: %+v", language, got)
			}
		}
	}
	py, golang := c.await(t, "record", len(want))
	if got := append(py, golang...); !sameElements(got, want) || len(py) == 0 || len(golang) == 0 {
		t.Errorf("casts handled in Python %v, in Go %v, want both to share %v, each handled once", py, golang, want)
	}
}

func TestFanout(t *testing.T) {
	t.Parallel()
	c := startCrew(t)
	var want []string
	for language, client := range c.clients {
		args := fmt.Sprintf(`{"from": "%s"}`, language)
		want = append(want, args)
		if got := client.send(t, request{do: "fanout", topic: crewTopic, method: "record", args: args}); got.kind != "ok" {
			t.Fatalf("fanout from %s: %+v", language, got)
		}
	}
	py, golang := c.await(t, "record", 2*len(want))
	if !sameElements(py, want) || !sameElements(golang, want) {
		t.Errorf("fanout reached Python with %v and Go with %v, want %v in each", py, golang, want)
	}
}

// TestNamedServer: a request to one server of a topic never reaches the other.
func TestNamedServer(t *testing.T) {
	t.Parallel()
	c := startCrew(t)
	for language, client := range c.clients {
		for _, server := range []string{"py1", "go1"} {
			for range 4 {
				got := client.send(t, request{topic: crewTopic, server: server, method: "whoami"})
				if d := diff(t, ok(`"`+server+`"`), got); d != "" {
					t.Errorf("call of %s from %s (-want +got):\n%s", server, language, d)
				}
			}
		}
	}
}

// TestFailedCasts: nobody is told of a cast that fails, and the server goes on.
func TestFailedCasts(t *testing.T) {
	t.Parallel()
	for _, p := range startPairs(t) {
		t.Run(p.name, func(t *testing.T) {
			for _, method := range []string{"fail", "nope"} {
				got := p.send(t, request{do: "cast", topic: p.topic, method: method, args: `{"message": "boom"}`})
				if d := diff(t, ok("null"), got); d != "" {
					t.Errorf("outcome of the cast of %s (-want +got):\n%s", method, d)
				}
			}
			got := p.send(t, request{topic: p.topic, method: "add", args: `{"a": 1, "b": 1}`})
			if d := diff(t, ok("2"), got); d != "" {
				t.Errorf("outcome of a call (-want +got):\n%s", d)
			}
		})
	}
}

// sameElements compares without regard to order.
func sameElements(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
