package osloconf

// This file says what becomes of each option of oslo.messaging 18.3.

// effect is what an option does here.
type effect uint8

const (
	inURL    effect = iota // it is an option of the transport URL, too
	inConfig               // it is a field of Config, or one of messaging.Options
	none                   // it changes nothing that a peer would notice
)

// known is an option that oslo.messaging has.
type known struct {
	effect effect
	why    string // for none: why
	def    string // for references
}

const (
	rabbitGroup        = "oslo_messaging_rabbit"
	notificationsGroup = "oslo_messaging_notifications"
)

func applied(def string) known { return known{effect: inURL, def: def} }
func field(def string) known   { return known{effect: inConfig, def: def} }
func useless(why, def string) known {
	return known{effect: none, why: why, def: def}
}

// groups are the options by group and name.
func groups() map[string]map[string]known {
	return map[string]map[string]known{
		defaultGroup: {
			"transport_url":             field("rabbit://"),
			"control_exchange":          applied("openstack"),
			"rpc_response_timeout":      field("60"),
			"executor_thread_pool_size": field("64"),
			"rpc_thread_pool_size":      field("64"), // its old name
			"rpc_ping_enabled":          field("false"),
		},
		notificationsGroup: {
			"driver":         field(""),
			"transport_url":  field(""),
			"topics":         field("notifications"),
			"retry":          field("-1"),
			"routing_config": field(""),
		},
		rabbitGroup: rabbitOptions(),
	}
}

func rabbitOptions() map[string]known {
	return map[string]known{
		"amqp_durable_queues":               applied("false"),
		"amqp_auto_delete":                  applied("false"),
		"rabbit_ha_queues":                  applied("false"),
		"rabbit_quorum_queue":               applied("false"),
		"rabbit_transient_quorum_queue":     applied("false"),
		"rabbit_quorum_delivery_limit":      applied("0"),
		"rabbit_quorum_max_memory_length":   applied("0"),
		"rabbit_quorum_max_memory_bytes":    applied("0"),
		"rabbit_transient_queues_ttl":       applied("1800"),
		"rabbit_stream_fanout":              applied("false"),
		"rabbit_qos_prefetch_count":         applied("0"),
		"use_queue_manager":                 applied("false"),
		"hostname":                          applied(""),
		"processname":                       applied(""),
		"heartbeat_timeout_threshold":       applied("60"),
		"direct_mandatory_flag":             applied("true"),
		"enable_cancel_on_failover":         applied("false"),
		"rabbit_login_method":               applied("AMQPLAIN"),
		"ssl":                               applied("false"),
		"ssl_ca_file":                       applied(""),
		"ssl_cert_file":                     applied(""),
		"ssl_key_file":                      applied(""),
		"ssl_enforce_hostname_verification": applied("true"),

		"ssl_version":                          field(""),
		"conn_pool_ttl":                        field("1200"),
		"rabbit_retry_interval":                field("1"),
		"rabbit_interval_max":                  field("30"),
		"kombu_missing_consumer_retry_timeout": field("60"),
		"kombu_reconnect_timeout":              field("60"), // its old name

		"rpc_conn_pool_size":      useless("connections are shared here; see messaging.Options.MaxConns", "30"),
		"conn_pool_min_size":      useless("one connection for sending is kept, others are opened while it is busy", "2"),
		"kombu_reconnect_delay":   useless("waits before reconnecting are random and grow, from rabbit_retry_interval to rabbit_interval_max", "1.0"),
		"kombu_reconnect_splay":   useless("waits before reconnecting are random anyway", "0.0"),
		"rabbit_retry_backoff":    useless("waits between attempts double", "2"),
		"kombu_failover_strategy": useless("hosts are shuffled and then taken in turn", "round-robin"),
		"kombu_compression":       useless("compressed messages are read, and none is compressed, which every peer reads", ""),
		"heartbeat_rate":          useless("heartbeats are sent twice within heartbeat_timeout_threshold", "3"),
		"ssl_enforce_fips_mode":   useless("FIPS mode is the Go program's: GODEBUG=fips140=on", "false"),
	}
}

// obsolete are options that oslo.messaging once had, and where to look now.
func obsolete() map[string]string {
	const url = "[DEFAULT] transport_url"
	return map[string]string{
		defaultGroup + ".rpc_backend":                url,
		defaultGroup + ".rabbit_host":                url,
		defaultGroup + ".rabbit_hosts":               url,
		defaultGroup + ".rabbit_port":                url,
		defaultGroup + ".rabbit_userid":              url,
		defaultGroup + ".rabbit_password":            url,
		defaultGroup + ".rabbit_virtual_host":        url,
		defaultGroup + ".notification_driver":        "[oslo_messaging_notifications] driver",
		defaultGroup + ".notification_topics":        "[oslo_messaging_notifications] topics",
		defaultGroup + ".notification_transport_url": "[oslo_messaging_notifications] transport_url",
		rabbitGroup + ".rabbit_host":                 url,
		rabbitGroup + ".rabbit_hosts":                url,
		rabbitGroup + ".rabbit_port":                 url,
		rabbitGroup + ".rabbit_userid":               url,
		rabbitGroup + ".rabbit_password":             url,
		rabbitGroup + ".rabbit_virtual_host":         url,
		rabbitGroup + ".rabbit_use_ssl":              "ssl",
		rabbitGroup + ".kombu_ssl_version":           "ssl_version",
		rabbitGroup + ".kombu_ssl_keyfile":           "ssl_key_file",
		rabbitGroup + ".kombu_ssl_certfile":          "ssl_cert_file",
		rabbitGroup + ".kombu_ssl_ca_certs":          "ssl_ca_file",
		rabbitGroup + ".heartbeat_in_pthread":        "nothing: heartbeats do not depend on the program here",
		rabbitGroup + ".rabbit_max_retries":          "nothing: who sends bounds it, by its context and its options",
		rabbitGroup + ".fake_rabbit":                 "the transport URL fake://",
	}
}

// elsewhere are groups of oslo.messaging without an effect here, and what there is
// instead.
func elsewhere() map[string]string {
	return map[string]string{
		"oslo_messaging_metrics": "use package messaging/telemetry",
		"oslo_messaging_tracing": "use package messaging/telemetry",
		"oslo_messaging_kafka":   "there is no driver for Kafka",
		"oslo_messaging_amqp":    "the driver amqp1 has options of its own, in its URL",
		"oslo_messaging_zmq":     "the driver zmq has options of its own, in its URL",
	}
}
