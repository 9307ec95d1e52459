package rpc

import (
	"fmt"
	"strconv"
	"strings"
)

// version is a version of an endpoint's interface: "1.5" or "1.5.2".
type version struct{ major, minor, revision int }

// maxVersionPart bounds the digits of one number of a version, which comes
// from the network.
const maxVersionPart = 9

// parseVersion parses major.minor[.revision]. The error matches
// ErrInvalidVersion.
func parseVersion(s string) (version, error) {
	major, rest, ok := strings.Cut(s, ".")
	minor, revision, more := strings.Cut(rest, ".")
	var v version
	ok = ok && parsePart(major, &v.major) && parsePart(minor, &v.minor)
	if more {
		ok = ok && parsePart(revision, &v.revision)
	}
	if !ok {
		return version{}, fmt.Errorf("%w: %.40q is not major.minor or major.minor.revision", ErrInvalidVersion, s)
	}
	return v, nil
}

func parsePart(s string, into *int) bool {
	if len(s) == 0 || len(s) > maxVersionPart || s[0] == '+' || s[0] == '-' {
		return false
	}
	n, err := strconv.Atoi(s)
	*into = n
	return err == nil
}

// serves reports whether an implementation of version v can serve a request
// for version requested: the same major, and no newer minor or revision. It is
// oslo.messaging's rule: a revision counts only when the minors are equal.
func (v version) serves(requested version) bool {
	switch {
	case requested.major != v.major:
		return false
	case requested.minor != v.minor:
		return requested.minor < v.minor
	}
	return requested.revision <= v.revision
}
