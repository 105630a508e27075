package probe

import (
	"fmt"
	"slices"

	"acceptwatch/internal/listener"
)

// losses tells everything that was not seen or not kept, since attach.
func (t *Tracer) losses() []listener.Loss {
	return slices.DeleteFunc(t.countLosses(), func(l listener.Loss) bool { return l.Count == 0 })
}

// LossKinds are what each Loss can be of (Loss.What) that is counted for sure: not
// the misses, which some kernels do not tell.
func (t *Tracer) LossKinds() []string {
	var kinds []string
	for _, l := range t.countLosses() {
		if l.What != recursionMisses && l.What != kprobeMisses {
			kinds = append(kinds, l.What)
		}
	}
	return kinds
}

const (
	recursionMisses = "recursion_misses"
	kprobeMisses    = "kprobe_misses"
)

// countLosses tells of each kind, also of those of which there was none.
func (t *Tracer) countLosses() []listener.Loss {
	var list []listener.Loss
	add := func(what, text string, count uint64) {
		list = append(list, listener.Loss{What: what, Text: text, Count: count})
	}
	var kernel [tracingLossLOSS_KINDS]uint64
	if err := t.coll.Variables[tracingVarLosses].Get(&kernel); err != nil {
		add("losses_unreadable", fmt.Sprintf("count of losses, the kernel's own, cannot be read (%v)", err), 1)
	}
	kernel[tracingLossLOSS_ACCEPTING_FULL] += t.beyond
	for kind, count := range kernel {
		what, text := lossWords(tracingLoss(kind))
		add(what, text, count)
	}
	add("addresses_reopened", "address[|es] got a listener again just when [its|their] entry was given back: a death in that instant is not counted", t.counts.addresses.raced)
	add("undecoded", "record[|s] of the event buffer [was|were] not understood", t.undecoded)
	made := "a walk of the queues repairs depths and deaths"
	if t.countsSkippedAccepts() {
		made += ", accepts are counted all the same, by address and without their waits"
	}
	add(recursionMisses, "run[|s] of a program [was|were] skipped because it was interrupted by itself; "+made+", other counts can be too low by as many", t.recursionMisses())
	add(kprobeMisses, "run[|s] of a kprobe [was|were] skipped because another probe ran on that CPU, or too many calls of the function were under way; a walk of the queues repairs depths and deaths, other counts stay too low by as many", t.kprobeMisses())
	unhooked := uint64(0)
	if t.mptcpErr != nil {
		unhooked = 1
	}
	add("mptcp_hook", fmt.Sprintf("hook cannot be attached, that on the sockets of MPTCP clients, of which those that hang up in a queue are noticed by walks only (%v)", t.mptcpErr), unhooked)
	add("uninspected", "process[|es] could not be looked into, so the next connection of a thread of [its|theirs] that blocks in accept() since before the start is tied to its address only", t.unseen)
	if t.walk != nil {
		add("namespaces", fmt.Sprintf("network namespace[|s] or process[|es] could not be looked into, so what waits in namespaces that only [it shows|they show] is not listed (%v)", t.walk.lastError), uint64(t.walk.unseen()))
	}
	return list
}

func lossWords(kind tracingLoss) (what, text string) {
	switch kind {
	case tracingLossLOSS_RING_FULL:
		return "ring_full", "event[|s] found the buffer full: [its line is|their lines are] missing, the counts are not"
	case tracingLossLOSS_LISTENERS_FULL:
		return "listeners_full", "event[|s] on listeners beyond the number kept: counted together"
	case tracingLossLOSS_ADDRESSES_FULL:
		return "addresses_full", "death[|s] at addresses beyond the number kept: counted together"
	case tracingLossLOSS_CLOSED_FULL:
		return "closed_full", "listener[|s] closed faster than [it was|they were] read: counted together"
	case tracingLossLOSS_HISTOGRAMS_OUT:
		return "histograms_out", "listener[ shares|s share] one histogram of waits, because there are more than the memory for them allows"
	case tracingLossLOSS_LATE:
		return "late", "accept[|s] or refusal[|s] came after the listener had closed: counted together"
	case tracingLossLOSS_ACCEPTING_FULL:
		return "accepting_full", "accept[|s] by threads beyond the number kept: tied to the address only"
	case tracingLossLOSS_ERRORS_FULL:
		return "errors_full", "failed accept[|s] of processes beyond the number kept: not counted"
	case tracingLossLOSS_CALLS_FULL:
		return "calls_full", "accept[|s] by threads beyond the number kept: had [it|they] failed, it would not have been seen"
	case tracingLossLOSS_WALK_ENTRIES:
		return "walk_entries", "entr[y|ies] of long queues found no room in the buffer: [it is|they are] counted in the depth and not listed"
	default:
		return fmt.Sprintf("kernel_%d", kind), "lost in the kernel"
	}
}

// countsSkippedAccepts says that another program does what one that saw an accept
// left out. It knows nothing of MPTCP connections where __inet_accept is not watched.
func (t *Tracer) countsSkippedAccepts() bool {
	has := func(is func(*hook) bool) bool {
		return slices.ContainsFunc(t.links, func(l attached) bool { return is(&l.hook) })
	}
	return has(func(h *hook) bool { return h.role == RoleGraft }) &&
		(!t.mptcp || has(func(h *hook) bool { return h.symbol == inetAccept }))
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
