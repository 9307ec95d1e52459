package osloconf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrInvalid says that a file is not a configuration, or that an option of it has no
// meaning here.
var ErrInvalid = errors.New("invalid configuration")

// option is one assignment in a file.
type option struct {
	group, name string // the group in lower case, but for DEFAULT
	value       string // not substituted; the lines of a continued one are joined by line breaks
	where       string // "nova.conf:12"
	file        int    // how many files were before it
}

// parse reads a file as oslo.config does. Errors say where, and never quote a line,
// which may hold a password.
func parse(file string, r io.Reader) ([]option, error) {
	p := &parser{file: file}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		p.line++
		if err := p.take(strings.TrimRight(lines.Text(), " \t\r\v\f")); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, p.where(), err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, p.where(), err)
	}
	return p.options, nil
}

const maxLine = 1 << 20 // bytes

type parser struct {
	file    string
	line    int
	group   string
	open    bool // the last option may be continued
	options []option
}

func (p *parser) where() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

func (p *parser) take(line string) error {
	switch {
	case line == "":
		p.open = false
	case line[0] == ' ' || line[0] == '\t':
		if !p.open {
			return errors.New("a line that begins with a blank continues nothing")
		}
		last := &p.options[len(p.options)-1]
		last.value += "\n" + strings.TrimLeft(line, " \t")
	case line[0] == '[':
		p.open = false
		return p.section(line)
	case line[0] == '#' || line[0] == ';':
		p.open = false
	default:
		return p.assign(line)
	}
	return nil
}

func (p *parser) section(line string) error {
	name, ok := strings.CutSuffix(line[1:], "]")
	switch {
	case !ok:
		return errors.New("a section must end with ]")
	case name == "":
		return errors.New("a section needs a name")
	}
	p.group = normalize(name)
	return nil
}

// normalize returns the name by which a group is known.
func normalize(group string) string {
	if group == defaultGroup {
		return group
	}
	return strings.ToLower(group)
}

const defaultGroup = "DEFAULT"

func (p *parser) assign(line string) error {
	i := strings.IndexAny(line, ":=")
	switch {
	case i < 0:
		return errors.New("there is neither a = nor a : in it")
	case p.group == "":
		return errors.New("an option must be in a section")
	}
	name, value := strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:])
	if name == "" {
		return errors.New("an option needs a name")
	}
	if n := len(value); n > 0 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = strings.TrimSuffix(value[1:], value[:1]) // nothing is left of one quote alone
	}
	p.options = append(p.options, option{group: p.group, name: name, value: value, where: p.where()})
	p.open = true
	return nil
}
