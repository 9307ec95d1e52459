package rabbit

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

func TestExplain(t *testing.T) {
	kinds := map[string]error{
		"permanent": messaging.ErrPermanent, "auth": messaging.ErrAuth,
		"lost": messaging.ErrConnLost, "unsupported": messaging.ErrUnsupported,
	}
	for _, tt := range []struct {
		name string
		err  error
		want string // the kinds it matches
	}{
		{"precondition", server(406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'"), "permanent"},
		{"another precondition", server(406, "PRECONDITION_FAILED - unknown delivery tag 7"), "permanent"},
		{"access", server(403, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'"), "auth permanent"},
		{"virtual host", server(530, "NOT_ALLOWED - vhost v not found"), "permanent"},
		{"virtual host refused", server(530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u'"), "auth permanent"},
		{"virtual host down", server(530, "NOT_ALLOWED - vhost 'v' is down"), ""},
		{"limit of connections", server(530, "NOT_ALLOWED - connection refused: user limit (1) is reached"), ""},
		{"not implemented", server(540, "NOT_IMPLEMENTED - no"), "permanent unsupported"},
		{"transient queues", server(541, "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated."), "permanent"},
		{"internal error", server(541, "INTERNAL_ERROR"), ""},
		{"not found", server(404, "NOT_FOUND - no queue 'q' in vhost '/'"), ""},
		{"going down", server(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"), ""},
		{"the library's", amqp.ErrClosed, "lost"},
		{"another's", errors.New("x"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := explain(tt.err)
			for name, kind := range kinds {
				if errors.Is(got, kind) != strings.Contains(tt.want, name) {
					t.Errorf("%q matches %q: %v", got, name, errors.Is(got, kind))
				}
			}
			if again := explain(got); !errors.Is(again, got) || again.Error() != got.Error() {
				t.Errorf("explained again: %q", again)
			}
		})
	}
	if explain(nil) != nil {
		t.Error("explain(nil) is an error")
	}
}

func server(code int, reason string) error {
	return &amqp.Error{Code: code, Reason: reason, Server: true}
}

func TestParsePrecondition(t *testing.T) {
	for _, tt := range []struct {
		reason string
		want   *messaging.PreconditionError
	}{
		{
			"PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
			&messaging.PreconditionError{Entity: "queue", Name: "q", Argument: "durable"},
		},
		{
			"PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'a 'b' in vhost 'c' in vhost 'v': received none but current is the value '100000' of type 'signedint'",
			&messaging.PreconditionError{Entity: "queue", Name: "a 'b' in vhost 'c", Argument: "x-expires"},
		},
		{
			"PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'e' in vhost '/': received 'fanout' but current is 'topic'",
			&messaging.PreconditionError{Entity: "exchange", Name: "e", Argument: "type"},
		},
		{
			"PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'q' in vhost '/'",
			&messaging.PreconditionError{Entity: "queue", Name: "q", Argument: "auto-delete"},
		},
		{"PRECONDITION_FAILED - unknown delivery tag 7", nil},
		{"PRECONDITION_FAILED - inequivalent arg 'durable' for queue", nil},
		{"PRECONDITION_FAILED - inequivalent arg 'durable", nil},
		{"PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' elsewhere", nil},
	} {
		if tt.want != nil {
			tt.want.Reason = tt.reason
		}
		if diff := cmp.Diff(tt.want, parsePrecondition(tt.reason)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
		}
	}
}
