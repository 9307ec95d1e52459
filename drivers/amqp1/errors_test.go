package amqp1

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		give error
		want []error
		text string
	}{
		{nil, nil, ""},
		{errors.New("plain"), nil, "plain"},
		{
			&amqp.Error{Condition: amqp.ErrCondUnauthorizedAccess, Description: "no"},
			[]error{messaging.ErrAuth, messaging.ErrPermanent},
			"credentials refused: permanent: amqp:unauthorized-access: no",
		},
		{&amqp.Error{Condition: amqp.ErrCondNotImplemented}, []error{messaging.ErrUnsupported, messaging.ErrPermanent}, ""},
		{&amqp.Error{Condition: amqp.ErrCondNotAllowed}, []error{messaging.ErrPermanent}, ""},
		{&amqp.LinkError{RemoteErr: &amqp.Error{Condition: amqp.ErrCondMessageSizeExceeded}}, []error{messaging.ErrTooLarge}, ""},
		{&amqp.Error{Condition: amqp.ErrCondNotFound, Description: "q"}, nil, "amqp:not-found: q"},
	} {
		got := explain(tt.give)
		for _, want := range tt.want {
			if !errors.Is(got, want) {
				t.Errorf("%v: %v does not match %v", tt.give, got, want)
			}
		}
		if tt.text != "" && got.Error() != tt.text {
			t.Errorf("%v: %q, want %q", tt.give, got, tt.text)
		}
		if len(tt.want) == 0 && errors.Is(got, messaging.ErrPermanent) {
			t.Errorf("%v: %v is permanent", tt.give, got)
		}
	}
	for _, tt := range []struct {
		condition amqp.ErrCond
		address   string
		want      bool
	}{
		{amqp.ErrCondNotFound, "a", true},
		{amqp.ErrCondResourceDeleted, "a", true},
		{amqp.ErrCondInternalError, "a%2Eb", true},
		{amqp.ErrCondInternalError, "a.b", false},
		{amqp.ErrCondNotAllowed, "a%2Eb", false},
	} {
		if got := notFound(&amqp.LinkError{RemoteErr: &amqp.Error{Condition: tt.condition}}, tt.address); got != tt.want {
			t.Errorf("%s %q: not found %v", tt.condition, tt.address, got)
		}
	}
	if notFound(errors.New("x"), "%") {
		t.Error("an error that the peer did not say is that there is no node")
	}
}

func TestExplainQueue(t *testing.T) {
	err := explainQueue("q", &statusError{"PUT /queues/q", "409", "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'classic' but current is 'quorum'"})
	var p *messaging.PreconditionError
	if !errors.As(err, &p) || p.Name != "q" || p.Argument != "x-queue-type" {
		t.Errorf("%v", err)
	}
	if err := explainQueue("q", &statusError{"PUT /queues/q", "403", "no"}); !errors.Is(err, messaging.ErrAuth) {
		t.Errorf("%v", err)
	}
	if err := explainQueue("q", &statusError{"PUT /queues/q", "400", "no"}); !errors.Is(err, messaging.ErrPermanent) {
		t.Errorf("%v", err)
	}
}

// TestExplainDial: a host or a store of credentials that is away for a moment is worth
// another attempt, whatever it is called and says.
func TestExplainDial(t *testing.T) {
	for _, tt := range []struct {
		give      error
		permanent bool
	}{
		{&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "protocol.example"}}, false},
		{fmt.Errorf("asking for credentials: %w", errors.New("stream error: PROTOCOL_ERROR; protocol error")), false},
		{errors.New(`unexpected protocol "HTTP"`), true},
		{errors.New("unexpected protocol version 0.9.1"), true},
		{errors.New("unexpected protocol header 0x03, expected 0x00"), true},
		{errors.New("unknown protocol ID 0x07"), true},
		{errors.New("the peer breaks the protocol: a frame of 4 bytes, 131072 were agreed on"), true},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: protocol version not supported")}, true},
	} {
		err := explainDial(t.Context(), tt.give)
		if errors.Is(err, messaging.ErrPermanent) != tt.permanent || !errors.Is(err, messaging.ErrConnect) {
			t.Errorf("%v: want permanent %v", err, tt.permanent)
		}
	}
}

// TestDiscreet: the words about a wrong address of a proxy are not passed on.
func TestDiscreet(t *testing.T) {
	wrong := errors.New(`invalid proxy address "http://user:s3cret@%zz"`)
	_, err := discreet(func(*http.Request) (*url.URL, error) { return nil, wrong })(nil)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v", err)
	}
	want := &url.URL{Host: "proxy"}
	if u, err := discreet(func(*http.Request) (*url.URL, error) { return want, nil })(nil); u != want || err != nil {
		t.Errorf("%v, %v", u, err)
	}
}
