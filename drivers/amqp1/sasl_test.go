package amqp1_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/internal/tlstest"
)

// TestExternal: with a client's certificate and EXTERNAL asked for, no password is
// sent. The peer is a script, since no broker of the tests knows certificates.
func TestExternal(t *testing.T) {
	heard := make(chan []byte, 1)
	authority := tlstest.New(t)
	config := &tls.Config{Certificates: []tls.Certificate{authority.Pair(t, "127.0.0.1")}, MinVersion: tls.VersionTLS12}
	address := server(t, func(c net.Conn) {
		secure := tls.Server(c, config)
		if secure.HandshakeContext(t.Context()) != nil {
			return
		}
		header := make([]byte, 8)
		if _, err := secure.Read(header); err != nil {
			return
		}
		mechanisms := []byte{0, 0x53, 0x40, 0xc0, 20, 1, 0xe0, 17, 2, 0xa3, 5, 'P', 'L', 'A', 'I', 'N', 8, 'E', 'X', 'T', 'E', 'R', 'N', 'A', 'L'}
		frame := append([]byte{0, 0, 0, byte(8 + len(mechanisms)), 2, 1, 0, 0}, mechanisms...)
		if _, err := secure.Write(append(header, frame...)); err != nil {
			return
		}
		init := make([]byte, 512)
		n, _ := secure.Read(init)
		heard <- init[:n]
	})
	_, err := dialURL(t, "amqp1+tls://user:s3cret@"+address+"/?ssl_ca_file="+authority.File+"&sasl_mechanisms=EXTERNAL", 10*time.Second)
	if err == nil {
		t.Fatal("a peer that hangs up was connected to")
	}
	got := <-heard
	if !bytes.Contains(got, []byte("EXTERNAL")) || bytes.Contains(got, []byte("s3cret")) {
		t.Errorf("the client said %q", got)
	}
}
