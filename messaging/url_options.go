package messaging

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// OptionReader reads the query options of a URL with their types. Each method
// returns the default for an option that is absent or malformed; Err tells
// afterwards, at once, all that is wrong, including options that nobody asked
// for. It is not safe for concurrent use.
type OptionReader struct {
	query   []QueryOption
	asked   []string
	reasons []string
}

// Options returns a new reader of the URL's options.
func (u URL) Options() *OptionReader { return &OptionReader{query: u.Query} }

// Bool reads true, 1, on, yes, false, 0, off or no, in any case, as oslo.config does.
func (r *OptionReader) Bool(name string, def bool) bool {
	o := r.find(name)
	if o == nil {
		return def
	}
	switch strings.ToLower(o.Value) {
	case "true", "1", "on", "yes":
		return true
	case "false", "0", "off", "no":
		return false
	}
	r.malformed(o, "true or false")
	return def
}

// Int reads a decimal number.
func (r *OptionReader) Int(name string, def int) int {
	o := r.find(name)
	if o == nil {
		return def
	}
	n, err := strconv.Atoi(o.Value)
	if err != nil {
		r.malformed(o, "an integer")
		return def
	}
	return n
}

// Float reads a finite decimal number.
func (r *OptionReader) Float(name string, def float64) float64 {
	o := r.find(name)
	if o == nil {
		return def
	}
	f, err := strconv.ParseFloat(o.Value, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		r.malformed(o, "a number")
		return def
	}
	return f
}

// Seconds reads a number of seconds, such as 30 or 0.25, which is not negative.
func (r *OptionReader) Seconds(name string, def time.Duration) time.Duration {
	o := r.find(name)
	if o == nil {
		return def
	}
	f, err := strconv.ParseFloat(o.Value, 64)
	ns := math.Round(f * float64(time.Second))
	if err != nil || !(0 <= ns && ns < math.MaxInt64) { // so that NaN is malformed too
		r.malformed(o, "a number of seconds")
		return def
	}
	return time.Duration(ns)
}

// String reads any text.
func (r *OptionReader) String(name, def string) string {
	if o := r.find(name); o != nil {
		return o.Value
	}
	return def
}

// Enum reads one of the allowed words, in their exact spelling.
func (r *OptionReader) Enum(name, def string, allowed ...string) string {
	o := r.find(name)
	if o == nil {
		return def
	}
	if !slices.Contains(allowed, o.Value) {
		r.malformed(o, "one of "+strings.Join(allowed, ", "))
		return def
	}
	return o.Value
}

// Reject makes Err report the option, which was read before, for a reason of
// the driver's: a value out of range, or one that excludes another option. The
// reason is a phrase that follows the option's name, such as "must be at least 1".
func (r *OptionReader) Reject(name, reason string) {
	r.reasons = append(r.reasons, "option "+strconv.Quote(name)+" "+reason)
}

// Err returns nil if every option of the URL was read and is well-formed, else
// one error that says everything that is wrong, and the names that were asked
// for. It matches ErrInvalidURL and holds no value of an option whose name
// speaks of a password or a secret.
func (r *OptionReader) Err() error {
	reasons := slices.Clone(r.reasons)
	for _, o := range r.query {
		if !slices.Contains(r.asked, o.Name) {
			reasons = append(reasons, "unknown option "+strconv.Quote(o.Name)+r.known())
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return invalidURL("%s", strings.Join(reasons, "; "))
}

func (r *OptionReader) known() string {
	if len(r.asked) == 0 {
		return " (there are none)"
	}
	return " (known are " + strings.Join(slices.Sorted(slices.Values(r.asked)), ", ") + ")"
}

func (r *OptionReader) find(name string) *QueryOption {
	if !slices.Contains(r.asked, name) {
		r.asked = append(r.asked, name)
	}
	return findOption(r.query, name)
}

func (r *OptionReader) malformed(o *QueryOption, want string) {
	r.Reject(o.Name, "must be "+want+", not "+strconv.Quote(o.shown()))
}

// Has reports whether the URL has an option of that name.
func (u URL) Has(name string) bool { return findOption(u.Query, name) != nil }
