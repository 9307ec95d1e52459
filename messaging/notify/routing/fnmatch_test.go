package routing

import (
	"regexp"
	"testing"
)

// TestFnmatch: the answers are Python 3.11's fnmatch.fnmatchcase.
func TestFnmatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"abc", "abc", true},
		{"abc", "abcd", false},
		{"a.c", "abc", false},
		{"*", "", true},
		{"*", "a/b.c\n", true},
		{"a*c", "a.b.c", true},
		{"?", "é", true},
		{"?", "", false},
		{"[abc]x", "bx", true},
		{"[!abc]x", "bx", false},
		{"[!abc]x", "dx", true},
		{"[a-c]", "b", true},
		{"[c-a]", "b", false},
		{"[!c-a]", "b", true},
		{"[]]", "]", true},
		{"[]-a]", "^", true},
		{"[!]]", "]", false},
		{"[^a]", "^", true},
		{"[^a]", "b", false},
		{"[a", "[a", true},
		{"[", "[", true},
		{"[!", "[!", true},
		{"[]", "[]", true},
		{"[a-]", "-", true},
		{"[--0]", ".", true},
		{`[\]`, `\`, true},
		{`\*`, `\x`, true},
		{"(a|b)+$", "(a|b)+$", true},
		{"[[:alpha:]]", "a]", true},
		{"世*", "世界", true},
		{"[世界]", "界", true},
	} {
		if got := regexp.MustCompile(translate(tt.pattern)).MatchString(tt.text); got != tt.want {
			t.Errorf("%q on %q: %v, want %v (%s)", tt.pattern, tt.text, got, tt.want, translate(tt.pattern))
		}
	}
}

// FuzzFnmatch: every pattern is one.
func FuzzFnmatch(f *testing.F) {
	for _, p := range []string{"a*", "[!a-]", "[]", "[z-a]x", "[\xff-\x00]", "?[", "[[", "[-]"} {
		f.Add(p)
	}
	f.Fuzz(func(_ *testing.T, pattern string) {
		patterns([]string{pattern}, false) // panics if it is none
	})
}
