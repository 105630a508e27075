package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// panel is what matters of one.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ W, H, X, Y int }
	Targets []struct{ Expr string }
}

func panels(t *testing.T, o Options) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal(printed(t, Grafana, o), &d); err != nil {
		t.Fatal(err)
	}
	return d.Panels
}

func TestPanelsOfTheDashboardDoNotOverlap(t *testing.T) {
	ids := make(map[int]string)
	taken := make(map[[2]int]string)
	for _, p := range panels(t, usual(Grafana)) {
		if other, ok := ids[p.ID]; ok {
			t.Errorf("%q and %q have the id %d", other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		if (len(p.Targets) == 0) != (p.Type == "row") {
			t.Errorf("%s %q has %d queries", p.Type, p.Title, len(p.Targets))
		}
		g := p.GridPos
		if g.X+g.W > 24 {
			t.Errorf("%q is out of the 24 columns", p.Title)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%q is where %q is", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestDashboardShowsEveryMetric(t *testing.T) {
	var queries strings.Builder
	for _, p := range panels(t, usual(Grafana)) {
		for _, target := range p.Targets {
			wantKnownMetrics(t, target.Expr)
			queries.WriteString(target.Expr + "\n")
		}
	}
	for _, name := range metrics() {
		if !strings.Contains(queries.String(), name+"{") {
			t.Errorf("%s is not shown", name)
		}
	}
}

// TestQueriesOfTheDashboardByPromtool has each as a rule, with values for what
// Grafana fills in.
func TestQueriesOfTheDashboardByPromtool(t *testing.T) {
	promtool := need(t, "promtool", "ACCEPTWATCH_NEED_PROMETHEUS")
	for _, o := range []Options{usual(Grafana), chosen(Grafana)} {
		file := "groups:\n- name: dashboard\n  rules:\n"
		n := 0
		for _, p := range panels(t, o) {
			for _, target := range p.Targets {
				query := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$listener", ".*").Replace(target.Expr)
				if strings.Contains(query, "$") {
					t.Errorf("%q uses a variable that there is not: %s", p.Title, query)
				}
				n++
				file += fmt.Sprintf("  - {record: a:b%d, expr: %q}\n", n, query)
			}
		}
		run(t, promtool, "check", "rules", written(t, "queries.yaml", []byte(file)))
	}
}
