package routing_test

import (
	"context"
	"fmt"
	"log"

	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/notify/routing"
)

func Example() {
	printed := func(name string) notify.Driver {
		return notify.DriverFunc(func(_ context.Context, n *notify.Notification) error {
			fmt.Println(name, n.Priority, n.EventType)
			return nil
		})
	}
	driver, err := routing.Parse([]byte(`
alarms:
  pager: {accepted_priorities: [error, critical]}
audit:
  archive: {accepted_events: ['*.delete.*']}
`), map[string]notify.Driver{"pager": printed("pager"), "archive": printed("archive")})
	if err != nil {
		log.Fatal(err)
	}
	notifier := notify.NewNotifier("volume.host1", []notify.Driver{driver}, nil)
	ctx := context.Background()
	_ = notifier.Info(ctx, "volume.create.end", nil)
	_ = notifier.Info(ctx, "volume.delete.end", nil)
	_ = notifier.Error(ctx, "volume.delete.error", nil)
	// Output:
	// archive info volume.delete.end
	// pager error volume.delete.error
	// archive error volume.delete.error
}
