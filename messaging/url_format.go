package messaging

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

const hidden = "***"

// String returns the URL in one canonical form, percent-encoded where needed
// and with "***" for each password. Parsing it gives the same URL but for the
// passwords.
func (u URL) String() string {
	b := []byte(u.Scheme + "://")
	for i, h := range u.Hosts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, h.String()...)
	}
	if u.HasVirtualHost {
		b = append(b, '/')
		b = appendEscaped(b, u.VirtualHost, "/")
	}
	for i, o := range u.Query {
		b = append(b, "?&"[min(i, 1)])
		b = appendEscaped(b, o.Name, "")
		b = append(b, '=')
		b = appendEscaped(b, o.shown(), "*")
	}
	return string(b)
}

// Format keeps passwords out of %v, %+v, %#v and every other verb.
func (u URL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// String returns the host as it stands in a URL, with "***" for the password.
func (h Host) String() string {
	var b []byte
	if h.HasUsername {
		b = appendEscaped(b, h.Username, "")
		if h.HasPassword {
			b = append(b, ":"+hidden...)
		}
		b = append(b, '@')
	}
	if strings.Contains(h.Hostname, ":") {
		b = append(b, "["+h.Hostname+"]"...)
	} else {
		b = append(b, h.Hostname...)
	}
	if h.Port != 0 {
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(h.Port), 10)
	}
	return string(b)
}

// Format keeps the password out of %v, %+v, %#v and every other verb.
func (h Host) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.String())) }

// shown returns the value, unless the name says that it is a secret, or it is a URL
// with what may be one.
func (o QueryOption) shown() string {
	if o.secret() {
		return hidden
	}
	return o.Value
}

func (o QueryOption) secret() bool {
	name := strings.ToLower(o.Name)
	_, address, _ := strings.Cut(o.Value, "://")
	return strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.Contains(address, "@")
}

// appendEscaped appends s, percent-encoded but for RFC 3986's unreserved
// characters and those of safe.
func appendEscaped(b []byte, s, safe string) []byte {
	const upperhex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, strings.IndexByte(safe, c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', upperhex[c>>4], upperhex[c&15])
		}
	}
	return b
}

// MarshalJSON returns {"transport", "virtual_host", "hosts", "query"} with null
// for what is absent and "***" for passwords.
func (u URL) MarshalJSON() ([]byte, error) {
	var vhost *string
	if u.HasVirtualHost {
		vhost = &u.VirtualHost
	}
	hosts := u.Hosts
	if hosts == nil {
		hosts = []Host{}
	}
	return json.Marshal(struct {
		Transport   string      `json:"transport"`
		VirtualHost *string     `json:"virtual_host"`
		Hosts       []Host      `json:"hosts"`
		Query       queryObject `json:"query"`
	}{u.Scheme, vhost, hosts, u.Query})
}

// MarshalJSON returns {"hostname", "port", "username", "password"} with null
// for what is absent and "***" for the password.
func (h Host) MarshalJSON() ([]byte, error) {
	var j struct {
		Hostname *string `json:"hostname"`
		Port     *int    `json:"port"`
		Username *string `json:"username"`
		Password *string `json:"password"`
	}
	if h.Hostname != "" || h.Port != 0 { // oslo.messaging: ":5672" has an empty host name, "user@" has none
		j.Hostname = &h.Hostname
	}
	if h.Port != 0 {
		j.Port = &h.Port
	}
	if h.HasUsername {
		j.Username = &h.Username
	}
	if h.HasPassword {
		stars := hidden
		j.Password = &stars
	}
	return json.Marshal(j)
}

// queryObject is a query as a JSON object in the URL's order.
type queryObject []QueryOption

func (q queryObject) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, o := range q {
		if i > 0 {
			b = append(b, ',')
		}
		for j, s := range [...]string{o.Name, o.shown()} {
			text, err := json.Marshal(s)
			if err != nil {
				return nil, err
			}
			b = append(append(b, text...), ":"[:1-j]...)
		}
	}
	return append(b, '}'), nil
}
