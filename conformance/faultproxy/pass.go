package faultproxy

import (
	"net"
	"time"
)

// chunk is what was read at once, and when it may be written.
type chunk struct {
	data []byte
	due  time.Time
}

const (
	chunkSize  = 32 << 10
	chunkQueue = 64 // how much a delay may hold back: then reading waits
)

// pass copies from one side to the other until the link ends.
func (l *link) pass(from, to net.Conn, toTarget bool) {
	queue := make(chan chunk, chunkQueue)
	l.proxy.running.Go(func() {
		defer close(queue)
		l.read(from, queue)
	})
	l.write(to, queue, toTarget)
	l.end(false)
	for range queue { // let the reader go
	}
}

func (l *link) read(from net.Conn, queue chan<- chunk) {
	for {
		buf := make([]byte, chunkSize)
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case queue <- chunk{data: buf[:n], due: time.Now().Add(l.proxy.currentDelay())}:
			case <-l.gone:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) write(to net.Conn, queue <-chan chunk, toTarget bool) {
	for c := range queue {
		if !l.await(c.due) || !l.open() {
			return
		}
		data, cut := l.proxy.spend(c.data, toTarget)
		if _, err := to.Write(data); err != nil {
			return
		}
		if cut {
			l.proxy.Reset()
			return
		}
	}
}

// await waits until it is time, and reports whether the link lives.
func (l *link) await(due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.gone:
		return false
	}
}

func (p *Proxy) currentDelay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

// spend takes data from the budget of CutAfter, or from an answer that CutAnswer
// waits for. It returns what may still be sent, and whether that was the last.
func (p *Proxy) spend(data []byte, toTarget bool) (rest []byte, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !toTarget {
		if cut = p.muzzle; cut {
			data, p.muzzle = nil, false
		}
		return data, cut
	}
	if p.budget < 0 {
		return data, false
	}
	if int64(len(data)) < p.budget {
		p.budget -= int64(len(data))
		return data, false
	}
	data, p.budget = data[:p.budget], -1
	return data, true
}
