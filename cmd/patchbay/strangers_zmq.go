package main

import (
	"bytes"
	"encoding/binary"

	"github.com/patchbay-go/patchbay/conformance"
)

// zmqStrangers returns who has the password and is no peer all the same. What they
// say is ZMTP 3 and PLAIN, and then docs/wire.md#zmq.
func zmqStrangers(endpoints []string, username, password string) conformance.Strangers {
	command := func(name string, body ...[]byte) []byte {
		b := append([]byte{byte(len(name))}, name...)
		b = append(b, bytes.Join(body, nil)...)
		return append([]byte{4, byte(len(b))}, b...)
	}
	short := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	property := func(name, value string) []byte {
		return append(binary.BigEndian.AppendUint32(short(name), uint32(len(value))), value...)
	}
	login := func(identity string) []byte {
		b := make([]byte, 64)
		b[0], b[9], b[10] = 0xff, 0x7f, 3
		copy(b[12:], "PLAIN")
		b = append(b, command("HELLO", short(username), short(password))...)
		return append(b, command("INITIATE", property("Socket-Type", "DEALER"), property("Identity", identity))...)
	}
	head := append([]byte{1, 1}, make([]byte, 22)...) // version 1, a hello
	body := append(bytes.Repeat([]byte{7}, 16), make([]byte, 8+2+4)...)
	hello := bytes.Join([][]byte{{1, byte(len(head))}, head, {0, byte(len(body))}, body}, nil)
	return conformance.Strangers{
		Endpoints: endpoints,
		Oversized: append(login(""), 2, 0, 4, 0, 0, 0, 0, 0, 0), // a frame of 1 PiB
		Identity:  append(login("somebody"), hello...),
	}
}
