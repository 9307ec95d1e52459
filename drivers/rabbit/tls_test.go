package rabbit_test

import (
	"crypto/tls"
	"log/slog"
	"net/url"
	"os"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/internal/tlstest"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestTLS(t *testing.T) {
	b := newBroker(t)
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := tlstest.New(t), tlstest.New(t)
	const noName = "&ssl_enforce_hostname_verification=false"
	for _, tt := range []struct {
		name    string
		cert    tls.Certificate
		options string
		refused bool
	}{
		{"as it should be", ours.Pair(t, "127.0.0.1"), "", false},
		{"another's name", ours.Pair(t, "elsewhere.example"), "", true},
		{"another's name, not verified", ours.Pair(t, "elsewhere.example"), noName, false},
		{"signed by another", theirs.Pair(t, "127.0.0.1"), "", true},
		{"signed by another, name not verified", theirs.Pair(t, "127.0.0.1"), noName, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			there := *u
			there.Scheme, there.Host = "rabbit+tls", tlstest.Front(t, u.Host, tt.cert)
			c, err := dialURL(t, there.String()+"?ssl_ca_file="+ours.File+tt.options, limit)
			if tt.refused {
				wantErr(t, err, messaging.ErrConnect, messaging.ErrPermanent)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			a := topic()
			l := listen(t, c, sources(a))
			mustSend(t, c, a, text("x"))
			settle(t, poll(t, l), messaging.Ack)
		})
	}
}

// TestRenewedAuthority: a transport trusts who is in its file when it connects.
func TestRenewedAuthority(t *testing.T) {
	b := newBroker(t)
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	older, newer := tlstest.New(t), tlstest.New(t)
	u.Scheme, u.Host = "rabbit+tls", tlstest.Front(t, u.Host, newer.Pair(t, "127.0.0.1"))
	tr, err := messaging.Registry{"rabbit": rabbit.Open}.Open(t.Context(), u.String()+"?ssl_ca_file="+older.File,
		&messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tr.Close(within(t, limit)); err != nil {
			t.Error(err)
		}
	}()
	wantErr(t, tr.Connect(within(t, limit)), messaging.ErrPermanent)
	renewed, err := os.ReadFile(newer.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(older.File, renewed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tr.Connect(within(t, limit)); err != nil {
		t.Error(err)
	}
}
