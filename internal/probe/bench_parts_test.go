//go:build kernelbench

package probe

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/cost"
	"acceptwatch/internal/preflight"
)

// Each hook that a connection passes is measured alone, so that the sum can be
// compared with all of them together.

const sockGraft = "security_sock_graft"

// newer are the hooks that older ones can stand in for.
var newer = []string{inetAccept, childProcess, tcpFin, tcpFailure}

// measuredHooks are those that are attached, and the older ones that a connection
// passes, with how often it passes them.
func measuredHooks(t *testing.T, features *preflight.Features) (parts, instead []cost.Hook) {
	t.Helper()
	parts = countRuns(t, hooksOnly(t, features, all))
	now := must(MakePlan(features, Fentry))(t)
	older := hooksOnly(t, features.Without(newer...), func(h hook) bool { return !now.watches(h.symbol) })
	return parts, countRuns(t, older)
}

// countRuns attaches empty programs to the plan's hooks, and lets the kernel count.
// What runs for the listener alone rounds to 0 a connection.
func countRuns(t *testing.T, p *Plan) []cost.Hook {
	t.Helper()
	coll := must(loadEmpty(p))(t)
	defer coll.Close()
	links := must(attach(p, coll, nil))(t)
	stats := must(ebpf.EnableStats(unix.BPF_STATS_RUN_TIME))(t)
	measure(t)
	var hooks []cost.Hook
	for _, l := range links {
		s := must(l.loaded.Stats())(t)
		spec := must(specOf(l.object))(t).Programs[l.program]
		hooks = append(hooks, cost.Hook{Symbol: l.symbol, Exit: spec.AttachType == ebpf.AttachTraceFExit, Runs: int64(s.RunCount+connections/2) / connections})
	}
	check(t, stats.Close())
	check(t, detach(links))
	return hooks
}

// partSetUps are each hook alone: empty, and as all of them are set up. Without
// __inet_accept, security_sock_graft would do the work of an accept that went by
// unseen; so it is measured with it, and compared with it.
func partSetUps(parts []cost.Hook) []setUp {
	var list []setUp
	for i := range parts {
		h := &parts[i]
		if h.Runs == 0 {
			continue
		}
		list = append(list, setUp{name: alone(emptyHooks, h), over: nothing, hooks: justOn(h.Symbol), empty: true})
		for _, of := range setUps() {
			if _, ok := ofCosts[of.name]; !ok || of.empty {
				continue
			}
			s := setUp{name: alone(of.name, h), over: nothing, hooks: justOn(h.Symbol), options: of.options}
			if h.Symbol == sockGraft {
				s.over, s.hooks = alone(of.name, &cost.Hook{Symbol: inetAccept}), justOn(inetAccept, sockGraft)
			}
			list = append(list, s)
		}
	}
	return list
}

func alone(setUp string, h *cost.Hook) string { return setUp + ", only " + h.Symbol }

// insteadSetUps are the older hooks with empty programs.
func insteadSetUps(instead []cost.Hook) []setUp {
	var list []setUp
	for i := range instead {
		if h := &instead[i]; h.Runs > 0 {
			list = append(list, setUp{name: alone(emptyHooks, h), over: nothing, hooks: justOn(h.Symbol), lacking: newer, empty: true})
		}
	}
	return list
}

// ofCosts says where the figure of a set-up belongs.
var ofCosts = map[string]func(*cost.Costs) *int64{
	emptyHooks: func(c *cost.Costs) *int64 { return &c.Empty },
	countOnly:  func(c *cost.Costs) *int64 { return &c.Counting },
	eventMade:  func(c *cost.Costs) *int64 { return &c.Event },
	ofOthers:   func(c *cost.Costs) *int64 { return &c.Others },
}

// explain puts together what was measured.
func explain(t *testing.T, figures []figure, parts, instead []cost.Hook, blocks []block) *cost.Kernel {
	t.Helper()
	by := map[string]figure{}
	for _, f := range figures {
		by[f.SetUp] = f
	}
	k := &cost.Kernel{
		Kernel: said(t, osRelease), Clock: said(t, clockSource), Connections: connections / batches, Batches: batches * rounds,
		Nothing: by[nothing].Total,
	}
	for name, to := range ofCosts {
		*to(&k.Whole) = by[name].OverNothing
	}
	for i := range parts {
		h := &parts[i]
		if h.Runs == 0 {
			k.Unused = append(k.Unused, *h)
			continue
		}
		for name, to := range ofCosts {
			*to(&h.Costs) = by[alone(name, h)].OverThat
		}
		h.Uses = uses[h.Symbol]
		k.Hooks = append(k.Hooks, *h)
	}
	for i := range instead {
		h := &instead[i]
		h.Empty = by[alone(emptyHooks, h)].OverThat
		if h.Runs > 0 {
			k.Instead = append(k.Instead, *h)
		}
	}
	for _, b := range blocks {
		once := float64(by[b.setUp()].OverThat) / blockTimes
		if b.name == helperRead {
			k.HelperRead = once
			continue
		}
		k.Blocks = append(k.Blocks, cost.Block{Name: b.name, What: b.what, Instructions: once})
	}
	k.Called, k.Another = by[oneProgram].OverThat, by[twoPrograms].OverThat
	return k
}

// writeCost leaves the measurement where make bench-kernel takes it from.
func writeCost(t *testing.T, k *cost.Kernel) {
	t.Helper()
	for _, problem := range k.Problems() {
		t.Error(problem)
	}
	check(t, os.WriteFile("/tmp/cost.json", must(json.MarshalIndent(k, "", "\t"))(t), 0o644))
}
