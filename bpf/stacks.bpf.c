// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* Entry points for the stacks of threads: an object of its own, which is
 * loaded while a diagnosis gathers evidence, and at no other time. */
#include "vmlinux.h"

#include "offcpu.bpf.h"
#include "oncpu.bpf.h"
#include "registers.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* For the generated Go types. */
const struct thread_registers *unused_registers __attribute__((unused));
const enum stack_loss *unused_loss __attribute__((unused));
const enum stack_state *unused_state __attribute__((unused));

SEC("perf_event")
int on_cpu(void *ctx)
{
	handle_tick(ctx);
	return 0;
}

/* The current thread is still the one that leaves (__schedule,
 * kernel/sched/core.c). */
SEC("tp_btf/sched_switch")
int BPF_PROG(off_cpu, bool preempted, struct task_struct *prev, struct task_struct *next)
{
	left_cpu(ctx, preempted, prev);
	came_to_cpu(next);
	return 0;
}

/* Needs 5.15. */
SEC("iter/task")
int registers(struct bpf_iter__task *ctx)
{
	handle_registers(ctx);
	return 0;
}
