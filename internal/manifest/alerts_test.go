package manifest

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// metrics are those of serve and of the client library that it uses.
func metrics() []string {
	return []string{
		"acceptwatch_accept_wait_seconds", "acceptwatch_accept_wait_seconds_bucket",
		"acceptwatch_accept_queue_depth", "acceptwatch_accept_queue_limit", "acceptwatch_accept_queue_places", "acceptwatch_accept_queue_oldest_seconds",
		"acceptwatch_accept_queue_max_depth", "acceptwatch_accept_queue_full_seconds_total",
		"acceptwatch_enqueued_total", "acceptwatch_accepted_total", "acceptwatch_accepted_dead_total",
		"acceptwatch_close_wait_total", "acceptwatch_reset_total", "acceptwatch_dead_total", "acceptwatch_overflow_total", "acceptwatch_purged_total",
		"acceptwatch_migrated_total", "acceptwatch_accept_errors_total", "acceptwatch_stalled",
		"acceptwatch_listeners", "acceptwatch_listeners_folded", "acceptwatch_lost_total",
		"acceptwatch_mode_info", "acceptwatch_build_info",
		"process_cpu_seconds_total", "process_resident_memory_bytes",
	}
}

func wantKnownMetrics(t *testing.T, query string) {
	t.Helper()
	for _, name := range regexp.MustCompile(`\b(acceptwatch|process)_[a-z_]+`).FindAllString(query, -1) {
		if !slices.Contains(metrics(), name) {
			t.Errorf("serve has no metric %s: %s", name, query)
		}
	}
}

func rules(t *testing.T, text []byte) (alerts []struct{ Alert, Expr string }) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

func TestAlertsAreOfMetricsThatThereAre(t *testing.T) {
	all := rules(t, printed(t, Alerts, usual(Alerts)))
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	text, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Tests []struct {
				Name  string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	fires := make(map[string]bool)
	for _, test := range file.Tests {
		for _, one := range test.Tests {
			fires[one.Name] = fires[one.Name] || len(one.Fires) > 0
		}
	}
	for _, rule := range all {
		wantKnownMetrics(t, rule.Expr)
		if !fires[rule.Alert] {
			t.Errorf("%s has no test in which it fires", rule.Alert)
		}
	}
}

func TestAlertsByPromtool(t *testing.T) {
	promtool := need(t, "promtool", "ACCEPTWATCH_NEED_PROMETHEUS")
	run(t, promtool, "check", "rules", written(t, "chosen.yaml", printed(t, Alerts, chosen(Alerts))))
	tests, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := written(t, "alerts.yaml", printed(t, Alerts, usual(Alerts)))
	run(t, promtool, "check", "rules", path)
	run(t, promtool, "test", "rules", written(t, "alerts_test.yaml", bytes.ReplaceAll(tests, []byte("ALERTS"), []byte(path))))
}
