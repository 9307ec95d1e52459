package osloconf

import "strings"

// ReadText is Read without a file.
func ReadText(text string) (*Config, error) {
	options, err := parse("text", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return interpret(options, &Options{})
}
