package stacks

import (
	"slices"
	"strings"

	"acceptwatch/internal/symbol"
)

// switching are the functions between what a thread waits in and the program
// that looks at it; names with a prefix below are, too.
var switching = []string{
	"schedule", "__schedule", "schedule_preempt_disabled", "schedule_idle",
	"preempt_schedule", "preempt_schedule_common", "preempt_schedule_notrace", "preempt_schedule_irq",
	"preempt_schedule_thunk", "__cond_resched", "dynamic_cond_resched", "raw_irqentry_exit_cond_resched",
	"irqentry_exit_cond_resched", "prepare_task_switch",
}

var tracing = []string{"bpf_", "__bpf_", "__traceiter_", "trace_", "__traceprobe_"}

// withoutScheduler takes the scheduler's frames off the leaf's end.
func withoutScheduler(frames []symbol.Frame) []symbol.Frame {
	for i, f := range frames {
		traced := slices.ContainsFunc(tracing, func(prefix string) bool { return strings.HasPrefix(f.Function, prefix) })
		if !traced && !slices.Contains(switching, f.Function) {
			return frames[i:]
		}
	}
	return nil
}
