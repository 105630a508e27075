package probe

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// budget is what tracing may add to a connection on one kernel, in instructions.
// There is a file of it in testdata/budget for each kernel that was measured,
// named after the exact version of its package: another build of a kernel has
// other instructions.
type budget struct {
	Kernel string           `json:"kernel"` // version of the package: 6.12.118-1
	Added  map[string]int64 `json:"added"`  // by set-up, to a connection with nothing attached
}

const (
	emptyHooks = "empty hooks" // the set-up that others are compared with

	// budgetNoise is by how many instructions a median differs from run to run.
	budgetNoise = 25
	// ratioSlack is how much more, to the empty hooks of the same run, tracing may
	// add on a kernel that has no budget than on one that has, in percent.
	ratioSlack = 5
)

// ratio is what a set-up adds, in thousandths of what empty hooks add.
func (b *budget) ratio(setUp string) int64 {
	if b.Added[emptyHooks] == 0 {
		return 0
	}
	return b.Added[setUp] * 1000 / b.Added[emptyHooks]
}

// exceeded compares what was measured with the budgets: with that of its kernel,
// or else, by the ratio to empty hooks, with the most generous one. It says what
// costs more, a sentence each.
func (b *budget) exceeded(budgets []budget) []string {
	var problems []string
	i := slices.IndexFunc(budgets, func(o budget) bool { return o.Kernel == b.Kernel })
	for _, setUp := range slices.Sorted(maps.Keys(b.Added)) {
		if i >= 0 {
			most, known := budgets[i].Added[setUp]
			if known && b.Added[setUp] > most+budgetNoise {
				problems = append(problems, fmt.Sprintf("%s: %d instructions are added to a connection, the budget of %s is %d", setUp, b.Added[setUp], b.Kernel, most))
			}
			continue
		}
		var most int64
		for j := range budgets {
			most = max(most, budgets[j].ratio(setUp))
		}
		if ratio := b.ratio(setUp); most > 0 && ratio*100 > most*(100+ratioSlack) {
			problems = append(problems, fmt.Sprintf("%s: adds %.3f times what empty hooks do, on kernels with a budget at most %.3f times", setUp, float64(ratio)/1000, float64(most)/1000))
		}
	}
	return problems
}

// readBudgets reads those that are committed.
func readBudgets(t *testing.T) []budget {
	t.Helper()
	var all []budget
	for _, name := range must(filepath.Glob("testdata/budget/*.json"))(t) {
		var b budget
		if err := json.Unmarshal(must(os.ReadFile(name))(t), &b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.TrimSuffix(filepath.Base(name), ".json") != b.Kernel {
			t.Errorf("%s is the budget of %s", name, b.Kernel)
		}
		all = append(all, b)
	}
	return all
}

// packageVersion finds the version of the kernel's package in /proc/version.
func packageVersion(procVersion string) string {
	found := regexp.MustCompile(`#.*\bDebian (\S+)`).FindStringSubmatch(procVersion)
	if found == nil {
		return ""
	}
	return found[1]
}

func TestPackageVersionOfAKernel(t *testing.T) {
	const debian = "Linux version 6.12.118+deb13-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-14 (Debian 14.2.0-19) 14.2.0, GNU ld) #1 SMP PREEMPT_DYNAMIC Debian 6.12.118-1 (2026-10-02)"
	for text, want := range map[string]string{debian: "6.12.118-1", "Linux version 6.18.0 (root@host) #1 SMP": ""} {
		if got := packageVersion(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBudgetIsOfTheKernelOrElseOfTheEmptyHooks(t *testing.T) {
	budgets := []budget{
		{"6.12.1-1", map[string]int64{emptyHooks: 2000, "event": 3000, "counting": 2500}},
		{"7.3.1-1", map[string]int64{emptyHooks: 1000, "event": 1700, "counting": 1200}},
	}
	for _, test := range []struct {
		name string
		b    budget
		want string // of the problem; empty: none
	}{
		{"as budgeted", budget{"6.12.1-1", map[string]int64{emptyHooks: 2000, "event": 3000}}, ""},
		{"noise", budget{"6.12.1-1", map[string]int64{emptyHooks: 2000, "event": 3000 + budgetNoise}}, ""},
		{"more than noise", budget{"6.12.1-1", map[string]int64{emptyHooks: 2000, "event": 3001 + budgetNoise}}, "the budget of 6.12.1-1 is 3000"},
		{"a set-up without a budget", budget{"6.12.1-1", map[string]int64{emptyHooks: 2000, "new": 9000}}, ""},
		{"hooks themselves cost more on another kernel", budget{"7.4.0-1", map[string]int64{emptyHooks: 4000, "event": 6800}}, ""},
		{"within the slack of the most generous", budget{"7.4.0-1", map[string]int64{emptyHooks: 1000, "event": 1785}}, ""},
		{"beyond it", budget{"7.4.0-1", map[string]int64{emptyHooks: 1000, "event": 1790}}, "1.790 times what empty hooks do"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.b.exceeded(budgets)
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// The same kernels must stay comparable: a budget that lacks a set-up, or knows
// of none, would allow everything.
func TestBudgetsAreComplete(t *testing.T) {
	all := readBudgets(t)
	if len(all) == 0 {
		t.Fatal("there are no budgets: make bench-budget UPDATE_BUDGET=1")
	}
	for _, b := range all {
		for setUp, added := range b.Added {
			if added <= 0 {
				t.Errorf("%s: %s adds %d", b.Kernel, setUp, added)
			}
		}
		if n := len(b.Added); n != len(all[0].Added) || b.Added[emptyHooks] == 0 {
			t.Errorf("%s: %d set-ups, and %d in %s", b.Kernel, n, len(all[0].Added), all[0].Kernel)
		}
	}
}
