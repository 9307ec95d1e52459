// Package splice takes frames out of a stream that somebody else reads.
//
// A client library reads a connection through a [Reader]. Frames that its owner
// wants for himself never reach the library; all others do, whole and in order.
package splice

import (
	"bufio"
	"io"
	"time"
)

// Reader is an io.Reader for one goroutine. Its exported fields are set before the
// first Read.
type Reader struct {
	// Head is how many bytes of a frame Size needs.
	Head int

	// Size returns how many bytes the frame has that begins so, or why the stream
	// cannot be read on.
	Size func(head []byte) (int, error)

	// Take is given each frame, of which it keeps nothing, and reports whether it
	// took it: then the library never sees it. Its error ends the stream. Frames that
	// are larger than the buffer are the library's without a question.
	Take func(frame []byte) (bool, error)

	// Sign is a frame that the library is given at least every Interval while all
	// others are taken, so that it knows the peer to be alive.
	Sign     []byte
	Interval time.Duration

	in    *bufio.Reader
	pass  int       // bytes of the frame under way that are passed on as they are
	made  []byte    // what is passed on before anything else
	heard time.Time // when something was last passed on
	taken int       // since the clock was last looked at
}

// New returns a Reader of r with a buffer of that many bytes.
func New(r io.Reader, buffer int) *Reader { return &Reader{in: bufio.NewReaderSize(r, buffer)} }

// Read implements io.Reader. While nothing was read yet it waits; it returns before
// it would wait for more.
func (r *Reader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(r.made) > 0:
			c := copy(p[n:], r.made)
			r.made = r.made[c:]
			n += c
		case r.pass > 0:
			if n > 0 && r.in.Buffered() == 0 {
				return n, nil
			}
			c, err := r.in.Read(p[n:min(len(p), n+r.pass)])
			r.pass -= c
			n += c
			if err != nil {
				return n, err
			}
		default:
			if n > 0 && !r.whole() {
				return n, nil
			}
			if err := r.next(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// whole reports whether all of the next frame is here.
func (r *Reader) whole() bool {
	if r.in.Buffered() < r.Head {
		return false
	}
	head, _ := r.in.Peek(r.Head)
	size, err := r.Size(head)
	return err == nil && r.in.Buffered() >= size
}

// next takes the next frame, or leaves it to the library.
func (r *Reader) next() error {
	head, err := r.in.Peek(r.Head)
	if err != nil {
		return err
	}
	size, err := r.Size(head)
	if err != nil {
		return err
	}
	if size = max(size, r.Head); size <= r.in.Size() {
		frame, err := r.in.Peek(size)
		if err != nil {
			return err
		}
		took, err := r.Take(frame)
		if err != nil {
			return err
		}
		if took {
			_, err = r.in.Discard(size)
			r.show()
			return err
		}
	}
	r.pass, r.heard = size, time.Now()
	return nil
}

// show gives the library a sign of life when it is time to. It looks at the clock
// when the next frame may be long in coming, and else once in a while.
func (r *Reader) show() {
	if r.taken++; r.taken < 64 && r.in.Buffered() > 0 {
		return
	}
	r.taken = 0
	if now := time.Now(); now.Sub(r.heard) > r.Interval {
		r.heard, r.made = now, r.Sign
	}
}
