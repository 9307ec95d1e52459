package zmq_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// serveEcho serves "whoami" at a URL until the test ends.
func serveEcho(t *testing.T, tr *messaging.Transport, name string) {
	t.Helper()
	srv, err := rpc.NewServer(tr, messaging.Target{Topic: "work", Server: name}, []*rpc.Endpoint{endpoint(name, func(string) {})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(within(t, limit)); err != nil {
		t.Fatal(err)
	}
}

func whoami(t *testing.T, tr *messaging.Transport) (string, error) {
	t.Helper()
	return rpc.CallFor[string](within(t, limit), clientOf(tr, "work"), "whoami", rpc.None{})
}

// TestInsecure: who could be anybody is not talked to, unless that is wanted.
func TestInsecure(t *testing.T) {
	for url, ok := range map[string]bool{
		"zmq://127.0.0.1:9501/":                                 true,
		"zmq://[::1]:9501/":                                     true,
		"zmq://localhost:9501/":                                 true,
		"zmq://":                                                true,
		"zmq://10.1.2.3:9501/":                                  false,
		"zmq://10.1.2.3:9501/?insecure=true":                    true,
		"zmq://me:s3cret@10.1.2.3:9501/":                        true,
		"zmq+tls://10.1.2.3:9501/":                              true,
		"zmq://127.0.0.1:9501/?bind=0.0.0.0:9501":               false,
		"zmq://127.0.0.1:9501/?bind=0.0.0.0:9501&insecure=true": true,
		"zmq+ipc:///tmp/somewhere":                              true,
		"zmq+ipc://":                                            false,
		"zmq+ipc://host/tmp":                                    false,
		"zmq://h/vhost":                                         false,
		"zmq://a:b@h1,c:d@h2/":                                  false,
		"zmq+udp://h/":                                          false,
		"zmq://h/?heartbeat_interval=5&heartbeat_timeout=6":     false,
		"zmq://h/?bind=nonsense":                                false,
		"zmq://h/?discovery=redis":                              false, // not linked
		"zmq://127.0.0.1/?ports=1000":                           false,
	} {
		tr, err := messaging.Registry{"zmq": zmq.Open}.Open(t.Context(), url, quiet())
		if ok != (err == nil) || err != nil && !errors.Is(err, messaging.ErrInvalidURL) {
			t.Errorf("%s: %v", url, err)
		}
		if err == nil {
			if err := tr.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	// A name says where it leads to only when it is bound.
	tr := open(t, "zmq://localhost:1/?bind=:0")
	_, err := tr.Listen(within(t, limit), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}})
	if !errors.Is(err, messaging.ErrPermanent) || !strings.Contains(err.Error(), "insecure") {
		t.Errorf("listening everywhere without a password: %v", err)
	}
}

// TestRotatedPassword: a link that is opened later uses the password of then.
func TestRotatedPassword(t *testing.T) {
	url := nodesURL(t, 2, "")
	var now string
	asked := make(chan string, 1)
	o := quiet()
	o.Credentials = func(context.Context, messaging.HostPort) (messaging.Credentials, error) {
		p := <-asked
		asked <- p
		return messaging.Credentials{Username: "me", Password: p}, nil
	}
	now = "first-s3cret"
	asked <- now
	server, err := registry().Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(context.Background())
	serveEcho(t, server, "s")
	with := func(password string) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return open(t, strings.Replace(strings.ReplaceAll(url, ",", ",me:"+password+"@"), "zmq://", "zmq://me:"+password+"@", 1)).Connect(ctx)
	}
	if err := with("first-s3cret"); err != nil {
		t.Errorf("the first password: %v", err)
	}
	<-asked
	asked <- "second-s3cret"
	until(t, "the second password to be good", func() bool { return with("second-s3cret") == nil })
	if err := with("first-s3cret"); !errors.Is(err, messaging.ErrAuth) {
		t.Errorf("the first password, later: %v, want %v", err, messaging.ErrAuth)
	}
}

func TestIPC(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	url := "zmq+ipc://" + dir
	first := open(t, url)
	serveEcho(t, first, "a")
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	client := open(t, url)
	if who, err := whoami(t, client); err != nil || who != "a" {
		t.Errorf("%q, %v", who, err)
	}
	// One that comes later is found.
	serveEcho(t, open(t, url), "b")
	await(t, client, "work", 2)

	// A process that was killed leaves its socket. The next server removes that, and
	// no other.
	dead := start(t, role{URL: url, Topic: "work", Servers: []string{"dead"}})
	await(t, client, "work", 3)
	dead.kill(t)
	sockets := func() int {
		all, err := filepath.Glob(filepath.Join(dir, "*.sock"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := sockets(); n != 3 {
		t.Errorf("%d sockets after a kill, want 3", n)
	}
	serveEcho(t, open(t, url), "c")
	if n := sockets(); n != 3 {
		t.Errorf("%d sockets when the next server had come, want 3", n)
	}
	await(t, client, "work", 3)
	if err := first.Close(within(t, limit)); err != nil {
		t.Error(err)
	}
	if n := sockets(); n != 2 {
		t.Errorf("%d sockets when one had left, want 2", n)
	}
}

// TestIPCDirectoryOfOthers: who can put a socket into the directory is a server to
// all who look there, so both sides refuse it.
func TestIPCDirectoryOfOthers(t *testing.T) {
	dir := t.TempDir()
	url := "zmq+ipc://" + dir
	sub := messaging.Subscription{Sources: []messaging.Address{targetOf("work")}, Prefetch: 1}
	refused := func(what, why string) {
		t.Helper()
		if _, err := open(t, url).Listen(within(t, limit), sub); !errors.Is(err, messaging.ErrPermanent) || !strings.Contains(err.Error(), why) {
			t.Errorf("listening in %s: %v", what, err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // that is what is refused
		t.Fatal(err)
	}
	refused("a directory that others can read", "0700")
	if _, err := open(t, url+"?insecure=true").Listen(within(t, limit), sub); err != nil {
		t.Error(err)
	}
	if err := open(t, url).Connect(within(t, limit)); !errors.Is(err, messaging.ErrPermanent) || !strings.Contains(err.Error(), "0700") {
		t.Errorf("linking to a socket in a directory that others can reach: %v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // of a directory
		t.Fatal(err)
	}
	if err := open(t, url).Connect(within(t, limit)); err != nil {
		t.Errorf("when it is private: %v", err)
	}
	if os.Geteuid() == 0 { // who else may give a directory away
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		refused("a directory of somebody else", "belongs to another user")
	}
}
