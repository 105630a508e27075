package probe

import (
	"fmt"

	"acceptwatch/internal/listener"
)

// losses tells everything that was not seen or not kept, since attach.
func (t *Tracer) losses() []listener.Loss {
	var list []listener.Loss
	add := func(what, text string, count uint64) {
		if count > 0 {
			list = append(list, listener.Loss{What: what, Text: text, Count: count})
		}
	}
	var kernel [tracingLossLOSS_KINDS]uint64
	if err := t.coll.Variables[tracingVarLosses].Get(&kernel); err != nil {
		add("losses_unreadable", fmt.Sprintf("the kernel's own count of losses cannot be read (%v)", err), 1)
	}
	for kind, count := range kernel {
		what, text := lossWords(tracingLoss(kind))
		add(what, text, count)
	}
	add("addresses_reopened", "addresses got a listener again just when their entry was given back: a death in that instant is not counted", t.counts.addresses.raced)
	add("undecoded", "records of the event buffer were not understood", t.undecoded)
	add("recursion_misses", "runs of a program were skipped because it was interrupted by itself; a walk of the queues repairs depths and deaths, other counts stay too low by as many", t.recursionMisses())
	add("kprobe_misses", "runs of a kprobe were skipped because another probe ran on that CPU, or too many calls of the function were under way; a walk of the queues repairs depths and deaths, other counts stay too low by as many", t.kprobeMisses())
	if t.mptcpErr != nil {
		add("mptcp_hook", fmt.Sprintf("MPTCP clients that hang up in a queue are noticed by walks only: the hook on their sockets cannot be attached (%v)", t.mptcpErr), 1)
	}
	add("uninspected", "processes could not be looked into, so the next connection of a thread of theirs that blocks in accept() since before the start is not reported", t.unseen)
	if t.walk != nil && t.walk.unseen() > 0 {
		add("namespaces", fmt.Sprintf("network namespaces or processes could not be looked into, so what waits in namespaces that only they show is not listed (%v)", t.walk.lastError), uint64(t.walk.unseen()))
	}
	return list
}

func lossWords(kind tracingLoss) (what, text string) {
	switch kind {
	case tracingLossLOSS_RING_FULL:
		return "ring_full", "events found the buffer full: their lines are missing, the counts are not"
	case tracingLossLOSS_LISTENERS_FULL:
		return "listeners_full", "events on listeners beyond the number kept: counted together"
	case tracingLossLOSS_ADDRESSES_FULL:
		return "addresses_full", "deaths at addresses beyond the number kept: counted together"
	case tracingLossLOSS_CLOSED_FULL:
		return "closed_full", "listeners closed faster than they were read: counted together"
	case tracingLossLOSS_HISTOGRAMS_OUT:
		return "histograms_out", "listeners share one histogram of waits, because there are more than the memory for them allows"
	case tracingLossLOSS_LATE:
		return "late", "accepts and refusals came after their listener had closed: counted together"
	case tracingLossLOSS_ACCEPTING_FULL:
		return "accepting_full", "accepts by threads beyond the number kept: tied to the address only"
	case tracingLossLOSS_ERRORS_FULL:
		return "errors_full", "failed accepts of processes beyond the number kept: not counted"
	case tracingLossLOSS_CALLS_FULL:
		return "calls_full", "accepts by threads beyond the number kept: had they failed, it would not have been seen"
	case tracingLossLOSS_WALK_ENTRIES:
		return "walk_entries", "entries of long queues found no room in the buffer: they are counted in the depth and not listed"
	default:
		return fmt.Sprintf("kernel_%d", kind), "lost in the kernel"
	}
}

// recursionMisses adds up the runs that the kernel skipped (5.12; before, it
// does not count them: kernel/bpf/trampoline.c).
func (t *Tracer) recursionMisses() uint64 {
	var n uint64
	for _, l := range t.links {
		if stats, err := l.loaded.Stats(); err == nil {
			n += stats.RecursionMisses
		}
	}
	return n
}

// kprobeMisses adds up the calls that the kernel's kprobes let pass. It tells
// since 6.7 (fill_link_info of perf events, kernel/bpf/syscall.c).
func (t *Tracer) kprobeMisses() uint64 {
	var n uint64
	for _, l := range t.links {
		if l.kind == tracing {
			continue
		}
		info, err := l.Info()
		if err != nil {
			continue
		}
		if event := info.PerfEvent(); event != nil && event.Kprobe() != nil {
			n += event.Kprobe().Missed
		}
	}
	return n
}
