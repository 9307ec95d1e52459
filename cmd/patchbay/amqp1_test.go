package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/internal/brokertest"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// onAMQP1 runs a test on every broker that speaks AMQP 1.0, with the URL of a
// virtual host, or of an exchange, that nobody else uses.
func onAMQP1(t *testing.T, f func(t *testing.T, broker *brokertest.Broker, url string)) {
	t.Helper()
	for name, open := range map[string]func(testing.TB) *brokertest.Broker{"Broker-J": brokertest.BrokerJ, "Artemis": brokertest.Artemis} {
		t.Run(name, func(t *testing.T) {
			broker := open(t)
			f(t, broker, broker.AMQP1URL()+"?control_exchange=x"+rand.Text())
		})
	}
	for _, version := range []string{"4.0", "4.3"} {
		t.Run("RabbitMQ "+version, func(t *testing.T) {
			broker := brokertest.RabbitMQ(t, version)
			f(t, broker, brokertest.AMQP1(broker.VHost(t)))
		})
	}
}

// TestThreeProcessesOverAMQP1 has the three cases of the README, and the fourth: a
// server that is not there.
func TestThreeProcessesOverAMQP1(t *testing.T) {
	onAMQP1(t, func(t *testing.T, broker *brokertest.Broker, url string) {
		servers := startThree(t, url)
		client := newClient(t, url)

		const calls = 60
		for n := range calls {
			if err := client.Call(t.Context(), "record", rpc.Args{"n": n}, nil); err != nil {
				t.Fatalf("call %d: %v", n, err)
			}
		}
		for range 3 {
			got, err := rpc.CallFor[string](t.Context(), client.Prepare(rpc.WithServer("s2")), "whoami", rpc.None{})
			if err != nil || got != "s2" {
				t.Errorf("a call to s2 = %q, %v", got, err)
			}
		}
		absent := start(t, "call", "--url", url, "--topic", "t", "--timeout", "30s", "--server", "absent", "--mandatory", "whoami").wait()
		want := 4 // no route
		if strings.Contains(broker.String(), "Artemis") {
			want = 7 // it accepts whatever nobody gets, so that the driver refuses to promise
		}
		if absent.code != want {
			t.Errorf("a mandatory call to an absent server: exit %d, want %d, %s", absent.code, want, absent.stderr)
		}
		if err := client.Fanout(t.Context(), "fan", rpc.None{}); err != nil {
			t.Fatal(err)
		}

		handled := map[json.Number]int{}
		for i, s := range servers {
			s.stdout.await(t, "the fanout", func(lines []string) bool { return len(announcements(t, lines, "fan")) == 1 })
			lines := s.drain(t)
			if n := len(announcements(t, lines, "whoami")); n != map[int]int{1: 3}[i] {
				t.Errorf("s%d handled %d calls by name", i+1, n)
			}
			requests := announcements(t, lines, "record")
			if len(requests) == 0 {
				t.Errorf("s%d handled none of %d calls", i+1, calls)
			}
			for _, a := range requests {
				handled[a.Args["n"]]++
			}
		}
		for n := range calls {
			if times := handled[json.Number(fmt.Sprint(n))]; times != 1 {
				t.Errorf("call %d was handled %d times", n, times)
			}
		}
	})
}

// TestConformanceOfAMQP1BreaksLinks: a proxy stands before such a broker too.
func TestConformanceOfAMQP1BreaksLinks(t *testing.T) {
	got := patchbay(t, all.Registry(), "conformance", "--url", brokertest.BrokerJ(t).AMQP1URL(), "--run", "^(cut_idle|failover_second_host|cast_no_consumer_mandatory)$")
	if got.code != 0 || got.stdout != `{"summary":"cap 1/1 · fault 2/2","failed":0}`+"\n" {
		t.Errorf("exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
}
