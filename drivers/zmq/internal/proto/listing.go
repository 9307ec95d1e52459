package proto

import (
	"encoding/binary"

	"github.com/patchbay-go/patchbay/messaging"
)

// NodeID names a node, for as long as it lives. A node makes its own at random.
type NodeID [16]byte

// Source is one address at which a node listens. A request names it by number.
type Source struct {
	Number     uint32 // given by who listens; never used again
	Address    messaging.Address
	Group      string // notifications: who shares them
	Member     string // of a fanout: the name of the server, for errors
	Prefetch   uint32 // requests that it has not settled, at most
	AtMostOnce bool   // requests that were lost with their link are not sent again
}

// Flags of a source on the wire.
const (
	sourceFanout uint8 = 1 << iota
	sourceAtMostOnce
)

// HelloBody is the second frame of Hello. The name is for logs, and nothing is
// believed of it.
type HelloBody struct {
	Node       NodeID
	MaxMessage uint64 // bytes of body that it takes; 0: it does not say
	Name       string
	Sources    []Source
}

// AppendHello appends the frame.
func AppendHello(b []byte, h *HelloBody) []byte {
	b = append(b, h.Node[:]...)
	b = binary.BigEndian.AppendUint64(b, h.MaxMessage)
	b = appendText(b, h.Name)
	return AppendSources(b, h.Sources)
}

// ParseHello reads the frame.
func ParseHello(frame []byte) (*HelloBody, error) {
	s := scanner{rest: string(frame)}
	h := new(HelloBody)
	copy(h.Node[:], s.take(len(h.Node)))
	h.MaxMessage = s.number(8)
	h.Name = s.text()
	h.Sources = s.sources()
	return h, s.end("the greeting")
}

// AppendSources appends the second frame of Listen.
func AppendSources(b []byte, sources []Source) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(sources)))
	for i := range sources {
		src := &sources[i]
		var flags uint8
		if src.Address.Fanout {
			flags |= sourceFanout
		}
		if src.AtMostOnce {
			flags |= sourceAtMostOnce
		}
		b = binary.BigEndian.AppendUint32(b, src.Number)
		b = append(b, byte(src.Address.Kind), flags)
		b = binary.BigEndian.AppendUint32(b, src.Prefetch)
		server := src.Address.Server
		if src.Address.Fanout {
			server = src.Member
		}
		for _, text := range [...]string{src.Address.Exchange, src.Address.Topic, server, src.Group} {
			b = appendText(b, text)
		}
	}
	return b
}

// ParseSources reads the second frame of Listen.
func ParseSources(frame []byte) ([]Source, error) {
	s := scanner{rest: string(frame)}
	sources := s.sources()
	return sources, s.end("the list of sources")
}

func (s *scanner) sources() []Source {
	var sources []Source
	for range s.number(4) {
		if s.bad {
			return nil
		}
		src := Source{Number: uint32(s.number(4))}
		src.Address.Kind = messaging.Kind(s.number(1))
		flags := uint8(s.number(1))
		src.Prefetch = uint32(s.number(4))
		src.Address.Exchange = s.text()
		src.Address.Topic = s.text()
		src.Address.Server = s.text()
		src.Group = s.text()
		if src.Address.Fanout = flags&sourceFanout != 0; src.Address.Fanout {
			src.Member, src.Address.Server = src.Address.Server, ""
		}
		src.AtMostOnce = flags&sourceAtMostOnce != 0
		sources = append(sources, src)
	}
	return sources
}

// AppendNumbers appends the second frame of Unlisten.
func AppendNumbers(b []byte, numbers []uint32) []byte {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// ParseNumbers reads the second frame of Unlisten.
func ParseNumbers(frame []byte) ([]uint32, error) {
	if len(frame)%4 != 0 {
		return nil, malformed("a list of sources of %d bytes", len(frame))
	}
	numbers := make([]uint32, 0, len(frame)/4)
	for ; len(frame) > 0; frame = frame[4:] {
		numbers = append(numbers, binary.BigEndian.Uint32(frame))
	}
	return numbers, nil
}
