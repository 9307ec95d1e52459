package messaging

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// HostPort is a host of a transport URL without its credentials. An empty
// Host and a zero Port stand for the driver's defaults.
type HostPort struct {
	Host string
	Port int
}

// String returns host:port, with brackets around an IPv6 address.
func (h HostPort) String() string { return net.JoinHostPort(h.Host, strconv.Itoa(h.Port)) }

// URL is a parsed transport URL:
//
//	scheme://[user[:password]@]host[:port][,[user:password@]host[:port]…]/[virtual host][?option=value&…]
//
// Its parts are what oslo.messaging's TransportURL.parse gives. No way of
// printing it shows a password: String, every verb of fmt, and JSON say "***".
// A URL is not changed after ParseURL, and so safe for concurrent use.
type URL struct {
	Scheme         string // in lower case, "rabbit" or "rabbit+tls"
	VirtualHost    string // percent-decoded, without the first slash
	HasVirtualHost bool   // there was a path; "/" alone is an empty virtual host
	Hosts          []Host // in the URL's order; may be empty: the driver's default host
	Query          []QueryOption
}

// Host is one host of a URL. Credentials are not inherited from host to host.
type Host struct {
	Hostname    string // without brackets; empty: absent
	Port        int    // 0: absent
	Username    string
	Password    string
	HasUsername bool // an empty user name is not an absent one
	HasPassword bool
}

// HostPort returns the host without its credentials.
func (h Host) HostPort() HostPort { return HostPort{Host: h.Hostname, Port: h.Port} }

// QueryOption is an option of a URL. Each name is there once, in the order of
// first mention; the values of a repeated one are joined with commas.
type QueryOption struct{ Name, Value string }

// ParseURL parses a transport URL. It knows no driver and checks no option.
// Errors match ErrInvalidURL, and never quote what may be part of a password.
//
// oslo.messaging's rules hold where net/url has others: hosts are separated by
// commas; the last "@" of a host ends its credentials and the first ":" in
// these its user name; a "%" that begins no escape stands for itself; options
// without a value are dropped, and so is a fragment. Stricter than there, a
// port must be a number from 1 to 65535, what has brackets an IPv6 address, and
// an "@" behind the hosts, but for the value of an option, "%40": it is the end
// of a password that has a slash in it, most likely, and would be shown.
func ParseURL(s string) (*URL, error) {
	if !utf8.ValidString(s) {
		return nil, invalidURL("not UTF-8")
	}
	s = cleanURL(s)
	scheme, rest, ok := strings.Cut(s, ":")
	after, hasHosts := strings.CutPrefix(rest, "//")
	if !ok || !isScheme(scheme) || !hasHosts && strings.Contains(rest, "@") {
		return nil, invalidURL(`no scheme: it has the form driver://host:port/virtual_host, with user:password@ before the host`)
	}
	u := &URL{Scheme: strings.ToLower(scheme)}
	if hasHosts {
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		hosts, err := parseHosts(after[:end])
		if err != nil {
			return nil, err
		}
		u.Hosts, rest = hosts, after[end:]
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	path, query, _ := strings.Cut(rest, "?")
	if strings.Contains(path+fragment, "@") || hasAt(query) {
		return nil, invalidURL("there is an @ behind the hosts: characters such as / ? # in a password must be percent-encoded, and an @ in a virtual host is %%40")
	}
	if path, ok := strings.CutPrefix(path, "/"); ok {
		u.VirtualHost, u.HasVirtualHost = unescape(path), true
	}
	u.Query = parseQuery(query)
	return u, nil
}

// cleanURL drops what Python's urlsplit, which oslo.messaging uses, drops: leading
// blanks and control characters, and line breaks and tabs everywhere.
func cleanURL(s string) string {
	s = strings.TrimLeftFunc(s, func(r rune) bool { return r <= ' ' })
	return strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(s)
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !strings.Contains("0123456789+-.", s[i:i+1])) {
			return false
		}
	}
	return s != ""
}

func parseHosts(s string) ([]Host, error) {
	var hosts []Host
	for item := range strings.SplitSeq(s, ",") {
		if item == "" {
			continue
		}
		h, err := parseHost(item)
		if err != nil {
			return nil, invalidURL("host %d: %s", len(hosts)+1, err)
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// hostError is a reason why a host cannot be parsed. It is a constant so that
// it cannot quote the host, which may hold half a password: an unescaped slash
// in one makes everything before it look like "host:port".
type hostError string

func (e hostError) Error() string { return string(e) }

const (
	errPort     hostError = "the port is not a number from 1 to 65535 (characters such as / ? # , in a password must be percent-encoded)"
	errBrackets hostError = "brackets must hold an IPv6 address, and only a port may follow them"
	errColons   hostError = "more than one colon, and not an IPv6 address"
	errHostname hostError = "the host name has a blank, a control character or a bracket"
)

func parseHost(s string) (Host, error) {
	var h Host
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		user, password, ok := strings.Cut(s[:at], ":")
		h.Username, h.HasUsername = unescape(user), true
		h.Password, h.HasPassword = unescape(password), ok
		s = s[at+1:]
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Host{}, errHostname
	}
	name, port, hasPort, err := splitHostPort(s)
	if err != nil {
		return Host{}, err
	}
	h.Hostname = name
	if hasPort {
		h.Port, err = parsePort(port)
	}
	return h, err
}

func splitHostPort(s string) (name, port string, hasPort bool, err error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		name, rest, ok := strings.Cut(inner, "]")
		if !ok || !isIPv6(name) || rest != "" && rest[0] != ':' {
			return "", "", false, errBrackets
		}
		port, hasPort = strings.CutPrefix(rest, ":")
		return name, port, hasPort, nil
	}
	if strings.Count(s, ":") > 1 {
		if !isIPv6(s) {
			return "", "", false, errColons
		}
		return s, "", false, nil
	}
	name, port, hasPort = strings.Cut(s, ":")
	if strings.ContainsAny(name, "[]") {
		return "", "", false, errHostname
	}
	return name, port, hasPort, nil
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && !strings.ContainsAny(a.Zone(), "[]")
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort
	}
	return int(n), nil
}

func parseQuery(s string) []QueryOption {
	var query []QueryOption
	for item := range strings.SplitSeq(s, "&") {
		name, value, _ := strings.Cut(item, "=")
		if value == "" {
			continue
		}
		name, value = unescapeForm(name), unescapeForm(value)
		if old := findOption(query, name); old != nil {
			old.Value += "," + value
		} else {
			query = append(query, QueryOption{Name: name, Value: value})
		}
	}
	return query
}

// hasAt reports whether there is an "@" in a query outside of the options' values.
func hasAt(query string) bool {
	for item := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(item, "="); strings.Contains(name, "@") {
			return true
		}
	}
	return false
}

func findOption(query []QueryOption, name string) *QueryOption {
	for i := range query {
		if query[i].Name == name {
			return &query[i]
		}
	}
	return nil
}

// unescape decodes percent escapes as Python's unquote does: what is no escape
// stays, and what is not UTF-8 afterwards becomes U+FFFD.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string([]rune(string(b)))
}

func unescapeForm(s string) string { return unescape(strings.ReplaceAll(s, "+", " ")) }

func invalidURL(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidURL, fmt.Sprintf(format, args...))
}
