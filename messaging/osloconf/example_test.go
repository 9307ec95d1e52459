package osloconf_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/osloconf"
)

func Example() {
	dir, err := os.MkdirTemp("", "osloconf")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "cinder.conf")
	if err := os.WriteFile(file, []byte(`
[DEFAULT]
transport_url = rabbit://cinder:secret@$rabbit_host:5672/
rabbit_host = 10.0.0.5
rpc_response_timeout = 120

[oslo_messaging_rabbit]
rabbit_quorum_queue = true
kombu_reconnect_delay = 0.5
`), 0o600); err != nil {
		log.Fatal(err)
	}

	conf, err := osloconf.Read([]string{file}, &osloconf.Options{Env: os.LookupEnv})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(conf.URL)
	fmt.Println(conf.ClientOptions().Timeout)
	for _, note := range conf.Notes {
		fmt.Println(note.Option, note.Reason)
	}
	// Output:
	// rabbit://cinder:***@10.0.0.5:5672/?rabbit_quorum_queue=true
	// 2m0s
	// [DEFAULT] rabbit_host is obsolete and has no effect; instead there is [DEFAULT] transport_url
	// [oslo_messaging_rabbit] kombu_reconnect_delay has no effect: waits before reconnecting are random and grow, from rabbit_retry_interval to rabbit_interval_max
}

func ExampleConfig_Notifier() {
	ctx := context.Background()
	conf, err := osloconf.Read([]string{"testdata/fake.conf"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	transport, err := conf.OpenNotifications(ctx, messaging.Registry{"fake": fake.New(nil).Open}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer transport.Close(ctx)
	notifier, err := conf.Notifier("volume.host1", transport, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(notifier.Enabled(), notifier.Info(ctx, "volume.create.end", nil))
	// Output: true <nil>
}
