package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// TestMetrics holds the names that dashboards are made of.
func TestMetrics(t *testing.T) {
	s, err := open(t.Context(), "fake://")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(t.Context())
	if err := s.client.Call(t.Context(), "add", rpc.Args{"A": 2, "B": 3}, nil); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	s.metrics.ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	got := page.Body.String()
	for _, want := range []string{
		`rpc_client_call_duration_seconds_count{`,
		`rpc_server_call_duration_seconds_bucket{`,
		`rpc_method="calculator/add"`,
		`rpc_response_status_code="ok"`,
		`messaging_client_sent_messages_total{`,
		`messaging_client_operation_duration_seconds_count{`,
		`patchbay_dial_duration_seconds_count{`,
		`patchbay_calls_in_flight{`,
		`patchbay_connections_lost_total{`,
		`patchbay_messages_duplicate_total{`,
		`patchbay_server_requests_in_flight{`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}
