package notify

import (
	"encoding/json"
	"strings"

	"github.com/patchbay-go/patchbay/internal/jsontext"
)

// masked returns a payload in which nothing is secret any more.
func masked(payload json.RawMessage) any {
	var v any
	if jsontext.Unmarshal(orNull(payload), &v) != nil {
		return nil
	}
	mask(v)
	return v
}

// mask replaces the values of secrets in v, which is as encoding/json decodes.
func mask(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if isSecret(name) && value != nil {
				v[name] = "***"
			} else {
				mask(value)
			}
		}
	case []any:
		for _, value := range v {
			mask(value)
		}
	}
}

// isSecret reports whether a name speaks of what is nobody's business.
func isSecret(name string) bool {
	name = strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
	for _, word := range secretWords() {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// secretWords returns parts of such names: those that oslo.utils masks, and a few more.
func secretWords() []string {
	return []string{
		"password", "passwd", "pswd", "passphrase", "adminpass", "newpass",
		"secret", "token", "credential", "cookie",
		"authkey", "privatekey", "sslkey", "sshkey", "apikey", "accesskey", "encryptedkey", "encryptionkey", "fernetkey", "rndckey", "heartbeatkey",
		"adminkey", "clientkey", "cephrgwkey", "cephmdskey", "cephmonkey", "cryptokek", // Ceph's and Barbican's
		"clusterfsid", "hashsuffix", "configdrive",
	}
}
