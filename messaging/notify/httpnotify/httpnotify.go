// Package httpnotify publishes a notification for each request that an HTTP server
// gets and each response that it gives, as oslo.messaging's RequestNotifier does
// for WSGI services. It is apart from package notify so that only HTTP servers link
// net/http.
package httpnotify

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/patchbay-go/patchbay/messaging/notify"
)

// The event types.
const (
	EventRequest  = "http.request"
	EventResponse = "http.response"
)

// Options are the options of New. Nil means all defaults.
type Options struct {
	Service string   // in the payload as HTTP_X_SERVICE_NAME; default: the request's host
	Ignore  []string // methods that are not told of, in any case: "GET", "HEAD"

	// Header decides which headers of requests and responses are in the payload,
	// by their canonical name. Default: SafeHeader.
	Header func(name string) bool
}

// SafeHeader reports whether a header's name speaks of nothing that could be used again
// by who reads it: tokens, keys and other credentials, cookies. oslo.messaging leaves out
// X-Auth-Token only.
func SafeHeader(name string) bool {
	name = strings.ToLower(name)
	for _, word := range [...]string{"authorization", "cookie", "token", "auth-key", "api-key", "access-key", "secret", "password", "credential", "signature"} {
		if strings.Contains(name, word) {
			return false
		}
	}
	return true
}

// New returns middleware that publishes, with priority info, EventRequest before a
// handler is called and EventResponse after. The payload is oslo.messaging's:
// "request" has the request under the names of CGI (REQUEST_METHOD, PATH_INFO,
// HTTP_ACCEPT …), "response" has "status" and "headers", and "exception" the value
// of a panic, which goes on, and its traceback without the values of arguments.
//
// A request never waits: what the queue has no room for is dropped, and counted
// there. What a handler does with the response writer beyond http.ResponseWriter
// (flushing, hijacking) works through http.NewResponseController.
func New(q *notify.Queue, opts *Options) func(http.Handler) http.Handler {
	m := &middleware{queue: q}
	if opts != nil {
		m.opts = *opts
	}
	if m.opts.Header == nil {
		m.opts.Header = SafeHeader
	}
	m.program = filepath.Base(os.Args[0])
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(next, w, r) })
	}
}

type middleware struct {
	queue   *notify.Queue
	opts    Options
	program string
}

// payload is what is published.
type payload struct {
	Request   map[string]string `json:"request"`
	Response  *response         `json:"response,omitempty"`
	Exception *exception        `json:"exception,omitempty"`
}

type response struct {
	Status  string            `json:"status"` // "200 OK"
	Headers map[string]string `json:"headers"`
}

type exception struct {
	Value     string   `json:"value"`
	Traceback []string `json:"traceback"`
}

func (m *middleware) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if slices.ContainsFunc(m.opts.Ignore, func(method string) bool { return strings.EqualFold(method, r.Method) }) {
		next.ServeHTTP(w, r)
		return
	}
	request := m.environment(r)
	m.publish(r, EventRequest, payload{Request: request})
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	returned := false
	defer func() {
		p := payload{Request: request}
		if returned {
			p.Response = &response{fmt.Sprintf("%d %s", rec.status, http.StatusText(rec.status)), m.headers(w.Header())}
			m.publish(r, EventResponse, p)
			return
		}
		v := recover()
		p.Exception = &exception{fmt.Sprint(v), traceback()}
		m.publish(r, EventResponse, p)
		if v != nil { // else the handler ended its goroutine
			panic(v) //nolint:forbidigo // it is the handler's, and the server's business
		}
	}()
	next.ServeHTTP(rec, r)
	returned = true
}

// traceback returns the innermost frames that led to a panic, the last one last, as
// Python writes them. It is called by the deferred function.
func traceback() (lines []string) {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)]) // Callers, this, the deferred function
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		lines = append(lines, fmt.Sprintf("  File %q, line %d, in %s\n", f.File, f.Line, f.Function))
	}
	slices.Reverse(lines)
	return lines
}

// publish queues a notification. That there is no room is counted by the queue, and
// nothing of ours can be wrong with it.
func (m *middleware) publish(r *http.Request, event string, p payload) {
	_ = m.queue.Notify(r.Context(), notify.Info, event, p)
}

// environment returns a request under the names of CGI, as WSGI has it.
func (m *middleware) environment(r *http.Request) map[string]string {
	env := map[string]string{
		"REQUEST_METHOD":  r.Method,
		"SCRIPT_NAME":     "",
		"PATH_INFO":       r.URL.Path,
		"QUERY_STRING":    r.URL.RawQuery,
		"SERVER_PROTOCOL": r.Proto,
		"SERVER_SOFTWARE": m.program,
		"HTTP_HOST":       r.Host,
	}
	env["REMOTE_ADDR"], env["REMOTE_PORT"] = split(r.RemoteAddr)
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		env["SERVER_NAME"], env["SERVER_PORT"] = split(local.String())
	}
	for name, value := range m.headers(r.Header) {
		key := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if name != "Content-Type" && name != "Content-Length" {
			key = "HTTP_" + key
		}
		env[key] = value
	}
	env["HTTP_X_SERVICE_NAME"] = m.opts.Service
	if m.opts.Service == "" {
		env["HTTP_X_SERVICE_NAME"] = r.Host
	}
	return env
}

// headers returns those that may be told.
func (m *middleware) headers(h http.Header) map[string]string {
	told := make(map[string]string, len(h))
	for name, values := range h {
		if m.opts.Header(name) {
			told[name] = strings.Join(values, ", ")
		}
	}
	return told
}

func split(address string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, ""
	}
	return host, port
}

// recorder notes the status.
type recorder struct {
	http.ResponseWriter
	status  int
	written bool
}

// Unwrap lets http.ResponseController reach what the server can do.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if !r.written && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) { // the others come before the response
		r.status, r.written = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.written = true
	return r.ResponseWriter.Write(p)
}
