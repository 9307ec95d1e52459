package amqp1_test

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedConfiguration: the files in the documentation are those with which
// the tests configure the brokers.
func TestDocumentedConfiguration(t *testing.T) {
	document, err := os.ReadFile("../../docs/brokers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"qpidj/initial.json", "artemis/broker.xml"} {
		file, err := os.ReadFile("../../brokers/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(document), "\n"+strings.TrimSpace(string(file))+"\n") {
			t.Errorf("docs/brokers.md does not have brokers/%s as it is", name)
		}
	}
}
