package splice

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// newTestReader reads frames that are a digit and as many letters. Those of capitals are
// taken; a frame of "!" is wrong.
func newTestReader(r io.Reader, buffer int) (*Reader, *strings.Builder) {
	var taken strings.Builder
	s := New(r, buffer)
	s.Head, s.Interval, s.Sign = 1, time.Hour, []byte("0")
	s.Size = func(head []byte) (int, error) {
		if head[0] < '0' || head[0] > '9' {
			return 0, errors.New("no frame begins so")
		}
		return int(head[0]-'0') + 1, nil
	}
	s.Take = func(frame []byte) (bool, error) {
		switch body := string(frame[1:]); {
		case body == "!":
			return false, errors.New("wrong")
		case body != "" && body == strings.ToUpper(body):
			taken.WriteString(body)
			return true, nil
		}
		return false, nil
	}
	s.heard = time.Now()
	return s, &taken
}

func TestReader(t *testing.T) {
	for _, tt := range []struct{ name, stream, passed, taken, fails string }{
		{"nothing", "", "", "", ""},
		{"all is passed on", "1a03abc", "1a03abc", "", ""},
		{"all is taken", "1A2BC", "", "ABC", ""},
		{"some", "2ab1A0" + "3CDE1z", "2ab0" + "1z", "ACDE", ""},
		{"a frame that is cut off", "1a3ab", "1a", "", "EOF"},
		{"what is no frame", "1ax", "1a", "", "no frame begins so"},
		{"what is wrong", "1a1A1!1b", "1a", "A", "wrong"},
	} {
		for how, r := range map[string]io.Reader{
			"at once": strings.NewReader(tt.stream), "in bytes": iotest.OneByteReader(strings.NewReader(tt.stream)),
			"with the error": iotest.DataErrReader(strings.NewReader(tt.stream)),
		} {
			s, taken := newTestReader(r, 32)
			passed, err := io.ReadAll(s)
			if err == nil && tt.fails != "" && tt.fails != "EOF" || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s, %s: error %v", tt.name, how, err)
			}
			if string(passed) != tt.passed || taken.String() != tt.taken {
				t.Errorf("%s, %s: passed on %q, want %q, taken %q, want %q", tt.name, how, passed, tt.passed, taken, tt.taken)
			}
			small, _ := newTestReader(strings.NewReader(tt.stream), 32)
			if got, _ := io.ReadAll(iotest.OneByteReader(small)); string(got) != tt.passed {
				t.Errorf("%s, read in bytes: passed on %q", tt.name, got)
			}
		}
	}
}

// TestLargeFramesAreTheLibrarys: what the buffer cannot hold is not asked about.
func TestLargeFramesAreTheLibrarys(t *testing.T) {
	large := strings.Repeat("A", 40)
	s, taken := newTestReader(strings.NewReader("*"+large+"1a"), 16)
	s.Size = func(head []byte) (int, error) {
		if head[0] == '*' {
			return 1 + len(large), nil
		}
		return 2, nil
	}
	if got, err := io.ReadAll(s); err != nil || string(got) != "*"+large+"1a" || taken.Len() > 0 {
		t.Errorf("passed on %q, taken %q, %v", got, taken, err)
	}
}

// TestSign: whose frames are all taken learns that there are some, and not too often.
func TestSign(t *testing.T) {
	s, taken := newTestReader(strings.NewReader(strings.Repeat("1A", 1000)), 32)
	s.heard = time.Time{}
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, s.Sign) || taken.Len() != 1000 {
		t.Errorf("passed on %q, taken %d, %v; want one sign", got, taken.Len(), err)
	}
	s, _ = newTestReader(strings.NewReader(strings.Repeat("1A", 640)), 4096)
	s.Interval = -1
	if got, _ := io.ReadAll(s); len(got) < 5 || len(got) > 20 {
		t.Errorf("%d signs for 640 frames that came at once", len(got))
	}
}
