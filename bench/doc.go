// Package bench measures what messaging costs: calls, casts and fanouts, over
// any transport and beside what one would write without this module.
//
// A [System] is something that can be measured: [Patchbay] with a registry of
// drivers, [Channels] as the floor of what Go allows, and the client library of
// RabbitMQ used plainly in package bench/amqp091. A [Runner] measures one run
// of one system. [Compare] measures several of them in rounds, A B C A B C, so
// that what else the machine does meets all of them alike, and [Summarize]
// makes medians and ratios of the rounds.
//
// Client and servers are two processes, because that is how they are used and
// because only so their costs can be told apart. The server process is the
// same program, started again: its main function calls [ServeProcess]. What
// lives in memory is measured in one process, and its costs are those of both.
//
// CPU time is the figure to trust: on a machine that others use too, it repeats
// within some 10 %, while rates and latencies swing by factors.
package bench
