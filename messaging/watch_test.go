package messaging_test

import (
	"testing"
	"testing/synctest"

	. "github.com/patchbay-go/patchbay/messaging"
)

// TestWatchOfOneCallTwice: a request can be handled twice at once, when it came again
// after its connection was lost. Both learn that the caller left, and the end of
// one is not the other's.
func TestWatchOfOneCallTwice(t *testing.T) {
	for name, closed := range map[string]int{"both": -1, "the first ended": 0, "the second ended": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := answering(func(*script, *scriptConn, Envelope) {})
				tr := s.open(t, "script://", nil)
				var watches []*Watch
				for range 2 {
					w, err := tr.Watch(&Incoming{Envelope: Envelope{CallID: "c1"}})
					if err != nil {
						t.Fatal(err)
					}
					watches = append(watches, w)
				}
				if closed >= 0 {
					watches[closed].Close()
				}
				synctest.Wait() // the reply listener is there
				s.listener().deliver(reply(Envelope{CallID: "c1"}, ""))
				synctest.Wait()
				for i, w := range watches {
					select {
					case <-w.Gone():
						if i == closed {
							t.Errorf("watch %d was told after its end", i)
						}
					default:
						if i != closed {
							t.Errorf("watch %d was not told", i)
						}
					}
					w.Close()
				}
			})
		})
	}
}
