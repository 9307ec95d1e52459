package httpnotify_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/notify/httpnotify"
)

// told is a queue, and what was published through it.
type told struct {
	queue *notify.Queue
	got   []notify.Notification
}

func newTold() *told {
	t := &told{}
	keep := notify.DriverFunc(func(_ context.Context, n *notify.Notification) error { t.got = append(t.got, *n); return nil })
	t.queue = notify.NewQueue(notify.NewNotifier("api.host1", []notify.Driver{keep}, nil), nil)
	return t
}

// all returns what was published.
func (td *told) all(t *testing.T) []notify.Notification {
	t.Helper()
	if err := td.queue.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return td.got
}

type payload struct {
	Request  map[string]string
	Response *struct {
		Status  string
		Headers map[string]string
	}
	Exception *struct {
		Value     string
		Traceback []string
	}
}

func TestRequestAndResponse(t *testing.T) {
	t.Parallel()
	td := newTold()
	h := httpnotify.New(td.queue, &httpnotify.Options{Service: "volume"})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Openstack-Request-Id", "req-1")
		w.Header().Set("Set-Cookie", "s3cret")
		w.WriteHeader(http.StatusProcessing)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "ok")
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v3/volumes?all=1", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Auth-Token", "s3cret")
	request.Header.Set("Authorization", "Basic s3cret")
	request.Header.Set("X-Project-Id", "p1")
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	server.Close()

	all := td.all(t)
	if len(all) != 2 || all[0].EventType != "http.request" || all[1].EventType != "http.response" || all[0].Priority != notify.Info {
		t.Fatalf("published %+v", all)
	}
	for _, n := range all {
		if strings.Contains(string(n.Payload), "s3cret") {
			t.Errorf("%s tells a secret: %s", n.EventType, n.Payload)
		}
		var p payload
		if err := n.Decode(&p); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"REQUEST_METHOD": "POST", "PATH_INFO": "/v3/volumes", "QUERY_STRING": "all=1", "SERVER_PROTOCOL": "HTTP/1.1", "SCRIPT_NAME": "",
			"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "2", "HTTP_X_PROJECT_ID": "p1", "HTTP_X_SERVICE_NAME": "volume",
			"REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "127.0.0.1", "HTTP_HOST": strings.TrimPrefix(server.URL, "http://"),
		}
		for _, name := range []string{"REMOTE_PORT", "SERVER_PORT", "SERVER_SOFTWARE", "HTTP_USER_AGENT", "HTTP_ACCEPT_ENCODING"} {
			if p.Request[name] == "" {
				t.Errorf("%s: no %s", n.EventType, name)
			}
			delete(p.Request, name)
		}
		if d := cmp.Diff(want, p.Request); d != "" {
			t.Errorf("%s: request (-want +got):\n%s", n.EventType, d)
		}
		if (p.Response != nil) != (n.EventType == httpnotify.EventResponse) || p.Exception != nil {
			t.Errorf("%s: %s", n.EventType, n.Payload)
		}
		if r := p.Response; r != nil && (r.Status != "202 Accepted" || r.Headers["X-Openstack-Request-Id"] != "req-1") {
			t.Errorf("response %+v", r)
		}
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	td := newTold()
	h := httpnotify.New(td.queue, nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") }))
	func() {
		defer func() {
			if v := recover(); v != "oops" {
				t.Errorf("the panic became %v", v)
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://host/p", nil))
	}()
	all := td.all(t)
	var p payload
	if err := json.Unmarshal(all[1].Payload, &p); err != nil {
		t.Fatal(err)
	}
	if p.Response != nil || p.Exception == nil || p.Exception.Value != "oops" ||
		!slices.ContainsFunc(p.Exception.Traceback, func(line string) bool { return strings.Contains(line, "httpnotify_test.go") }) ||
		strings.Contains(strings.Join(p.Exception.Traceback, ""), "0x") { // values of arguments, which everybody who listens would read
		t.Errorf("payload %s", all[1].Payload)
	}
	if p.Request["HTTP_X_SERVICE_NAME"] != "host" {
		t.Errorf("request %v", p.Request)
	}
}

func TestIgnoredMethods(t *testing.T) {
	t.Parallel()
	td := newTold()
	called := 0
	h := httpnotify.New(td.queue, &httpnotify.Options{Ignore: []string{"get", "HEAD"}})(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, "/", nil))
	}
	if n := len(td.all(t)); n != 2 || called != 3 {
		t.Errorf("%d notifications, the handler was called %d times", n, called)
	}
}

// TestResponseWriterKeepsItsPowers: through a controller.
func TestResponseWriterKeepsItsPowers(t *testing.T) {
	t.Parallel()
	td := newTold()
	var failed error
	h := httpnotify.New(td.queue, nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		failed = http.NewResponseController(w).Flush()
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if failed != nil {
		t.Error(failed)
	}
	td.all(t)
}

// TestSwitchingProtocols: unlike the other 1xx, it is the response.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	td := newTold()
	h := httpnotify.New(td.queue, nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusSwitchingProtocols)
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	all := td.all(t)
	var p payload
	if err := json.Unmarshal(all[1].Payload, &p); err != nil {
		t.Fatal(err)
	}
	if p.Response == nil || p.Response.Status != "101 Switching Protocols" {
		t.Errorf("payload %s", all[1].Payload)
	}
}

// TestRequestsNeverWait: for a broker that does not answer.
func TestRequestsNeverWait(t *testing.T) {
	t.Parallel()
	stuck := notify.DriverFunc(func(ctx context.Context, _ *notify.Notification) error { <-ctx.Done(); return ctx.Err() })
	q := notify.NewQueue(notify.NewNotifier("p", []notify.Driver{stuck}, nil), &notify.QueueOptions{Size: 3, Logger: slog.New(slog.DiscardHandler)})
	h := httpnotify.New(q, nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 10 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	}
	if st := q.Stats(); st.Dropped < 16 {
		t.Errorf("%+v", st)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_ = q.Close(ctx)
}

func TestSafeHeader(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"Accept": true, "X-Project-Id": true, "X-Openstack-Request-Id": true, "X-Forwarded-For": true, "User-Agent": true, "Content-Type": true,
		"Authorization": false, "Proxy-Authorization": false, "Cookie": false, "Set-Cookie": false, "X-Auth-Token": false, "X-Auth-Key": false,
		"X-Service-Token": false, "X-Subject-Token": false, "X-Storage-Token": false, "X-Trust-Token": false, "X-Csrf-Token": false,
		"X-Api-Key": false, "Api-Key": false, "X-Amz-Security-Token": false, "X-Forwarded-Access-Token": false, "X-Client-Secret": false,
		"X-Admin-Password": false, "X-Original-Authorization": false, "X-Amz-Signature": false, "x-auth-token": false,
	} {
		if got := httpnotify.SafeHeader(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
