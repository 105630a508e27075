/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Where the watched threads left the CPU, and for how long. This runs at every
 * switch of every thread of the host: nothing before the test of cfg_threads. */
#ifndef ACCEPTWATCH_OFFCPU_H
#define ACCEPTWATCH_OFFCPU_H

#include "stackmaps.bpf.h"

/* NULL unless the thread is watched. A thread id that another process has by
 * now is not. */
static __always_inline struct thread *watched(struct task_struct *task)
{
	__u32 tid = task->pid, bit = tid % THREAD_BITS;
	struct thread *thread;

	if (!(cfg_threads[bit / 64] & 1ULL << bit % 64))
		return NULL;
	thread = bpf_map_lookup_elem(&threads, &tid);
	return thread && thread->tgid == (__u32)task->tgid ? thread : NULL;
}

static __always_inline void left_cpu(void *ctx, bool preempted, struct task_struct *task)
{
	struct thread *thread = watched(task);

	if (!thread)
		return;
	thread->state = preempted ? 0 : task_state(task);
	if (thread->state) {
		thread->user = stack_of(ctx, BPF_F_USER_STACK);
		thread->kernel = stack_of(ctx, 0);
	} else {
		/* It had to make room, anywhere: what it does is seen on the CPU. */
		thread->user = thread->kernel = NO_STACK;
	}
	thread->switches++;
	thread->since = bpf_ktime_get_ns();
}

static __always_inline void came_to_cpu(struct task_struct *task)
{
	struct thread *thread = watched(task);
	struct stack_key key = {};

	if (!thread)
		return;
	thread->switches++;
	if (!thread->since)
		return;
	key.tgid = thread->tgid;
	key.tid = task->pid;
	key.user = thread->user;
	key.kernel = thread->kernel;
	key.state = thread->state;
	stack_count(&key, bpf_ktime_get_ns() - thread->since);
	thread->since = 0;
}

#endif
