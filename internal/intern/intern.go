// Package intern makes one string of texts that come again and again.
package intern

// Bounds: a stranger may make up texts.
const (
	maxTexts = 512
	maxLen   = 128 // the address of a direct reply over RabbitMQ has 91
)

// Table makes one string of texts that a connection reads again and again: content
// types, header names, reply addresses. It forgets them all when they are too many.
// The zero value is ready; it belongs to one goroutine.
type Table struct{ texts map[string]string }

// Text returns b as a string, and keeps nothing of b.
func (t *Table) Text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > maxLen {
		return string(b)
	}
	if s, ok := t.texts[string(b)]; ok {
		return s
	}
	if t.texts == nil || len(t.texts) >= maxTexts {
		t.texts = make(map[string]string)
	}
	s := string(b)
	t.texts[s] = s
	return s
}
