// Package brokertest gives tests a real broker.
//
//	func TestPublish(t *testing.T) {
//		b := brokertest.RabbitMQ(t, "4.3")
//		url := b.VHost(t) // a virtual host of this test's own, removed at its end
//		…
//	}
//
// The first test that asks for a version starts it in a container, by
// testcontainers; the tests of the same package that ask later share it. The
// container is removed when the test process ends, however it ends.
//
// Nothing here ever skips a test: where no broker can be had the test fails,
// and the message says how to get one. docs/testing.md lists the environment
// variables by which a developer chooses another image, or a broker that runs
// already.
//
// A broker is real: it does not work inside a testing/synctest bubble.
package brokertest
