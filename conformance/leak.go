package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// resources are the goroutines and TCP sockets that are there at a moment.
// Inside a testing/synctest bubble these are the bubble's goroutines only, and
// no sockets: others belong to tests that run in parallel.
type resources struct {
	goroutines map[string]string // number to stack
	sockets    map[string]bool   // inode
}

func takeStock() *resources {
	stacks, bubble := goroutines()
	r := &resources{goroutines: stacks}
	if bubble == "" {
		r.sockets = sockets()
	}
	return r
}

// settle waits until nothing is left of what came after before. It returns what
// is left in the end, and all that is there then.
func (before *resources) settle(limit time.Duration) (left []string, now *resources) {
	for wait, waited := time.Millisecond, time.Duration(0); ; wait = min(2*wait, 100*time.Millisecond) {
		now = takeStock()
		left = before.leaked(now)
		if len(left) == 0 || waited >= limit {
			return left, now
		}
		runtime.Gosched()
		<-time.After(wait)
		waited += wait
	}
}

func (before *resources) leaked(now *resources) []string {
	var left []string
	for id, stack := range now.goroutines {
		if _, ok := before.goroutines[id]; !ok && ours(stack) {
			left = append(left, "goroutine: "+brief(stack))
		}
	}
	for inode := range now.sockets {
		if !before.sockets[inode] {
			left = append(left, "TCP socket: inode "+inode)
		}
	}
	slices.Sort(left)
	return left
}

var (
	goroutineHeader = regexp.MustCompile(`^goroutine (\d+) .*`)
	bubbleName      = regexp.MustCompile(`synctest bubble \d+`)
	createdBy       = regexp.MustCompile(`(?m)^created by (\S+)`)
)

// goroutines returns the stacks of all goroutines of the caller's bubble, and
// the bubble's name; outside of one, those that are in none.
func goroutines() (stacks map[string]string, bubble string) {
	buf := make([]byte, 256<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks = map[string]string{}
	for i, block := range bytes.Split(buf, []byte("\n\n")) {
		m := goroutineHeader.FindSubmatch(block)
		if m == nil {
			continue
		}
		name := string(bubbleName.Find(m[0]))
		if i == 0 { // the caller's comes first
			bubble = name
			continue
		}
		if name == bubble {
			stacks[string(m[1])] = string(block)
		}
	}
	return stacks, bubble
}

// ours reports whether a goroutine may be a leak of what is tested: not one
// that the standard library keeps for itself.
func ours(stack string) bool {
	m := createdBy.FindStringSubmatch(stack)
	if m == nil {
		return false
	}
	for _, std := range []string{"testing.", "testing/synctest.", "runtime.", "os/signal.", "net/http.", "internal/", "context."} {
		if strings.HasPrefix(m[1], std) {
			return false
		}
	}
	return true
}

// brief is the function where a goroutine is and the one that started it.
func brief(stack string) string {
	lines := strings.Split(stack, "\n")
	at := ""
	for _, line := range lines[1:] {
		if f, _, ok := strings.Cut(line, "("); ok && !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "created by") {
			at = f
			if !strings.HasPrefix(f, "runtime.") && !strings.HasPrefix(f, "sync.") && !strings.HasPrefix(f, "internal/") {
				break
			}
		}
	}
	if m := createdBy.FindStringSubmatch(stack); m != nil {
		return fmt.Sprintf("in %s, started by %s", at, m[1])
	}
	return "in " + at
}

// allStacks returns the stacks of all goroutines of the bubble, for the watchdog.
func allStacks() []string {
	stacks, _ := goroutines()
	all := make([]string, 0, len(stacks))
	for _, s := range stacks {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

// sockets returns the inodes of this process's TCP sockets, where the system
// tells: on Linux. Elsewhere the result is empty, and nothing is found.
func sockets() map[string]bool {
	tcp := map[string]bool{}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 9 {
				tcp[fields[9]] = true
			}
		}
	}
	mine := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return mine
	}
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		inode := strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")
		if tcp[inode] {
			mine[inode] = true
		}
	}
	return mine
}
