package serving

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
)

// maxFrames bounds a trace.
const maxFrames = 32

// PanicTrace returns the frames that led to a panic, the outermost first and as
// Python writes them, without the values of arguments. It is called by the deferred
// function that recovered, or by one that is skip calls below it.
func PanicTrace(skip int) []string {
	pcs := make([]uintptr, maxFrames)
	pcs = pcs[:runtime.Callers(3+skip, pcs)] // Callers, PanicTrace, the deferred function
	frames := runtime.CallersFrames(pcs)
	var trace []string
	for more := len(pcs) > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasPrefix(f.Function, "runtime.") {
			continue // gopanic and the like
		}
		trace = append(trace, frameLine(f))
	}
	slices.Reverse(trace)
	return trace
}

// frameLine names the file by its package, not by where it was built.
func frameLine(f runtime.Frame) string {
	dir, name := path.Split(f.Function)
	pkg, fn, _ := strings.Cut(name, ".")
	return fmt.Sprintf("  File \"%s%s/%s\", line %d, in %s\n", dir, pkg, path.Base(f.File), f.Line, fn)
}
