//go:build kernelbench

package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"acceptwatch/internal/preflight"
)

// TestKernelBudget measures what everyone pays, once, and compares it with the
// budget of this kernel. What was measured is left in /tmp/budget, from where
// make bench-budget UPDATE_BUDGET=1 takes it as the new budget.
func TestKernelBudget(t *testing.T) {
	requireInstructionCount(t)
	version := packageVersion(string(must(os.ReadFile("/proc/version"))(t)))
	if version == "" {
		t.Fatal("/proc/version names no Debian package: its budget would be of no known kernel")
	}
	features := preflight.Detect()
	got := budget{version, map[string]int64{}}
	var bare int64
	for i, s := range setUps() {
		remove := s.put(t, features)
		median := measure(t)
		remove()
		if i == 0 {
			bare = median
			continue
		}
		got.Added[s.name] = median - bare
	}
	text := append(must(json.MarshalIndent(&got, "", "\t"))(t), '\n')
	fmt.Printf("bench-budget: %s", text)
	check(t, os.MkdirAll("/tmp/budget", 0o755))
	check(t, os.WriteFile(filepath.Join("/tmp/budget", version+".json"), text, 0o644))
	if os.Getenv("ACCEPTWATCH_UPDATE_BUDGET") != "" {
		return
	}
	for _, problem := range got.exceeded(readBudgets(t)) {
		t.Error(problem)
	}
}
