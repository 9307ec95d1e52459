package main

import "testing"

// TestURL holds the output of patchbay url, byte by byte: scripts read it.
func TestURL(t *testing.T) {
	tests := []struct{ name, url, want string }{
		{
			"everything", "rabbit://ann:s%2Fecret@host1:5672/my%20vhost?amqp_durable_queues=true&heartbeat=30",
			`{"transport":"rabbit","virtual_host":"my vhost","hosts":[{"hostname":"host1","port":5672,"username":"ann","password":"***"}],` +
				`"query":{"amqp_durable_queues":"true","heartbeat":"30"}}`,
		},
		{
			"several hosts", "rabbit://a:b@h1,h2:1,c@[::1]:2/",
			`{"transport":"rabbit","virtual_host":"","hosts":[{"hostname":"h1","port":null,"username":"a","password":"***"},` +
				`{"hostname":"h2","port":1,"username":null,"password":null},{"hostname":"::1","port":2,"username":"c","password":null}],"query":{}}`,
		},
		{"no path", "fake://", `{"transport":"fake","virtual_host":null,"hosts":[],"query":{}}`},
		{"a slash", "fake:///", `{"transport":"fake","virtual_host":"","hosts":[],"query":{}}`},
		{"any scheme, in lower case", "Carrier-Pigeon+TLS://loft", `{"transport":"carrier-pigeon+tls","virtual_host":null,` +
			`"hosts":[{"hostname":"loft","port":null,"username":null,"password":null}],"query":{}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := patchbay(t, nil, "url", tt.url)
			if got.code != 0 || got.stdout != tt.want+"\n" {
				t.Errorf("exit %d\n got %s want %s", got.code, got.stdout, tt.want)
			}
		})
	}
}
