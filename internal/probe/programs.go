package probe

import "time"

// ProgramRuns is what one eBPF program has cost since it was loaded. Runs is 0
// unless the kernel counts them: sysctl kernel.bpf_stats_enabled, or
// BPF_ENABLE_STATS.
type ProgramRuns struct {
	Name string // as in the object
	Runs uint64
	Time time.Duration // in it
}

// Programs are what the programs in place have cost. Those that cannot be asked
// are left out.
func (t *Tracer) Programs() []ProgramRuns {
	var all []ProgramRuns
	for _, l := range t.links {
		if stats, err := l.loaded.Stats(); err == nil {
			all = append(all, ProgramRuns{l.program, stats.RunCount, stats.Runtime})
		}
	}
	if t.coll == nil {
		return all
	}
	if walk := t.coll.Programs[t.plan.walk]; walk != nil {
		if stats, err := walk.Stats(); err == nil {
			all = append(all, ProgramRuns{t.plan.walk, stats.RunCount, stats.Runtime})
		}
	}
	return all
}
