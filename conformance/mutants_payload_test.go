package conformance_test

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// onDeliver makes a mutant of a func that changes what arrives.
func onDeliver(change func(l *listener, d *messaging.Delivery)) func() hooks {
	return func() hooks { return hooks{deliver: change} }
}

func payloadMutants() []mutant {
	return []mutant{
		{
			"large_body_cut", "cuts bodies to 128 KiB",
			[]string{"cast_payload_sizes"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) {
				if len(m.Body) > 128<<10 {
					m.Body = m.Body[:128<<10]
				}
			}),
		},
		{
			"body_nul_truncated", "ends a body at a NUL",
			[]string{"cast_binary_and_non_utf8"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) {
				if before, _, found := bytes.Cut(m.Body, []byte(`\u0000`)); found {
					m.Body = append(bytes.Clone(before), `"}`...)
				}
			}),
		},
		{
			"numbers_are_floats", "decodes bodies and encodes them again",
			[]string{"notify_as_sent", "cast_binary_and_non_utf8", "call_reply"},
			onDeliver(func(_ *listener, d *messaging.Delivery) {
				var v any
				if json.Unmarshal(d.Body, &v) == nil {
					if b, err := json.Marshal(v); err == nil {
						d.Body = b
					}
				}
			}),
		},
		{
			"header_lowercased", "changes headers to lower case",
			[]string{"cast_headers_weird_strings"},
			onDeliver(func(_ *listener, d *messaging.Delivery) {
				setHeader(&d.Message, "pb-context", strings.ToLower)
			}),
		},
		{
			"namespace_lost", "loses the namespace",
			[]string{"cast_one", "call_unknown_namespace", "namespace_isolation", "fanout_isolated_namespaces"},
			onDeliver(func(_ *listener, d *messaging.Delivery) { dropHeader(&d.Message, "pb-namespace") }),
		},
		{
			"version_lost", "loses the version",
			[]string{"cast_one", "call_version_mismatch", "call_minor_version_compatible"},
			onDeliver(func(_ *listener, d *messaging.Delivery) { dropHeader(&d.Message, "pb-version") }),
		},
		{
			"deadline_wrong_unit", "tells the server a deadline a thousand times as far",
			[]string{"call_deadline_propagates_remaining", "call_expired_request_not_executed"},
			onDeliver(func(_ *listener, d *messaging.Delivery) {
				setHeader(&d.Message, "pb-timeout-ms", func(ms string) string { return ms + "000" })
			}),
		},
		{
			"execute_expired", "neither expires messages nor tells their deadline",
			[]string{"call_deadline_propagates_remaining", "call_expired_request_not_executed", "ttl_expires"},
			onSend(func(_ *conn, _ *messaging.Address, m *messaging.Message) {
				m.TTL = 0
				dropHeader(m, "pb-timeout-ms")
			}),
		},
		{
			"monitor_lost", "does not tell the server that heartbeats are wanted",
			[]string{
				"heartbeat_keeps_long_call", "heartbeat_interval_bounds", "heartbeat_lost_server_detected_early",
				"heartbeat_stops_after_reply", "call_cancel_reaches_handler",
			},
			onDeliver(func(_ *listener, d *messaging.Delivery) { dropHeader(&d.Message, "pb-monitor-ms") }),
		},
		{
			"method_cut", "takes what is before an underscore for a namespace",
			[]string{"ping_endpoint"},
			onDeliver(func(_ *listener, d *messaging.Delivery) {
				setHeader(&d.Message, "pb-method", func(name string) string { return strings.TrimPrefix(name, "oslo_") })
			}),
		},
		{
			"error_class_lost", "loses the class of a remote error",
			[]string{
				"call_remote_error_typed", "call_unknown_method", "call_unknown_namespace", "call_version_mismatch", "ping_endpoint",
			},
			onDeliver(func(_ *listener, d *messaging.Delivery) {
				if failed, _ := d.Header("pb-failed"); failed == "true" {
					var f map[string]any
					if json.Unmarshal(d.Body, &f) == nil {
						f["class"] = ""
						d.Body, _ = json.Marshal(f)
					}
				}
			}),
		},
		{
			"error_text_lost", "loses the text of a remote error",
			[]string{"call_remote_error_typed", "call_handler_panic_is_error"},
			onDeliver(func(_ *listener, d *messaging.Delivery) {
				if failed, _ := d.Header("pb-failed"); failed == "true" {
					var f map[string]any
					if json.Unmarshal(d.Body, &f) == nil {
						f["message"] = ""
						d.Body, _ = json.Marshal(f)
					}
				}
			}),
		},
		{
			"null_is_object", "turns a result that is null into an object",
			[]string{"call_void", "call_reply"},
			onDeliver(func(l *listener, d *messaging.Delivery) {
				if l.sub.Reply != "" && string(d.Body) == "null" {
					d.Body = []byte("{}")
				}
			}),
		},
	}
}
