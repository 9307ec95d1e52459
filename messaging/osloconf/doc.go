// Package osloconf reads what operators already have: the configuration files of
// services that use oslo.messaging. They give the same transport in Go, its
// defaults for calls and servers, and the same notifier.
//
//	conf, err := osloconf.Read([]string{"/etc/nova/nova.conf"}, &osloconf.Options{ControlExchange: "nova"})
//	for _, note := range conf.Notes {
//		slog.Warn(note.String())
//	}
//	transport, err := conf.Open(ctx, messaging.Registry{"rabbit": rabbit.Open}, nil)
//	client := rpc.NewClient(transport, messaging.Target{Topic: "compute"}, conf.ClientOptions())
//	notifier, err := conf.Notifier("compute.host1", transport, nil)
//
// # What is read
//
// The files are read as oslo.config does: "name = value" or "name: value" in sections,
// lines that begin with a blank continue the one before, quotes round a value are
// taken off, an option that is there twice has the last value (or, if it is one of
// many values, all of them), and $name, ${name} and $group.name stand for other
// options. Later files go before earlier ones; a directory stands for its *.conf
// files, but hidden ones, in the order of their names. With Options.Env, environment
// variables such as OS_DEFAULT__TRANSPORT_URL go before all files.
//
// Of the sections, those of oslo.messaging are understood: of [DEFAULT] the options
// transport_url, control_exchange, rpc_response_timeout, executor_thread_pool_size and
// rpc_ping_enabled, and all of [oslo_messaging_rabbit] and
// [oslo_messaging_notifications].
//
// # What is reported
//
// Nothing in these sections is ignored silently. What cannot be done here, and whose
// peers would notice, is an error of Read or Open: a driver that there is not, an
// option whose value has no meaning. What has no effect here, or is unknown, is in
// Config.Notes, with the reason. The options of other libraries are none of our
// business.
package osloconf
