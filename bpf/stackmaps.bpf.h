/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* What is kept of stacks, and what user space sets before load: the sizes of
 * the maps, the processes and the threads. */
#ifndef ACCEPTWATCH_STACKMAPS_H
#define ACCEPTWATCH_STACKMAPS_H

#include "compat_task.bpf.h"

#define NO_STACK    (-1)
#define STACK_DEPTH 127 /* frames; kernel.perf_event_max_stack is no less by default */

/* Of one thread of a followed process, with one stack. */
struct stack_key {
	__u32 tgid;
	__u32 tid;
	__s32 user;   /* its number in stacks; negative: none */
	__s32 kernel; /* the same */
	__u32 state;  /* in which it left the CPU, or STATE_ON_CPU */
};

struct stack_count {
	__u64 count;
	__u64 duration; /* ns off the CPU */
};

enum stack_state {
	STATE_ON_CPU = 1U << 31, /* none of the kernel's */
};

/* A thread whose blocking is watched. */
struct thread {
	__u64 since;	/* ns: when it left the CPU; 0: it is on it */
	__u64 switches; /* that were seen; 0: none since the start */
	__u32 tgid;
	__s32 user;
	__s32 kernel;
	__u32 state;
};

/* A thread as an iterator meets it. */
struct thread_registers {
	__u32 tgid;
	__u32 tid;
	__u64 pc;
	__u64 sp;
	__u64 frame;
};

enum stack_loss {
	STACK_LOSS_COUNTS_FULL, /* samples without an entry */
	STACK_LOSS_STACKS_FULL, /* stacks of samples that are counted */
	STACK_LOSS_KINDS,
};

__u64 stack_losses[STACK_LOSS_KINDS];

/* One bit for all thread ids that are the same modulo its size: that a thread
 * is not watched is told by one load. */
#define THREAD_BITS 65536
const volatile __u64 cfg_threads[THREAD_BITS / 64];

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 8192);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_DEPTH * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct stack_key);
	__type(value, struct stack_count);
} stack_counts SEC(".maps");

/* Processes whose threads are sampled on the CPU, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8);
} processes SEC(".maps");

/* Threads whose blocking is watched, by thread id: all of them are there
 * before the first one is asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

static __always_inline void stack_lost(enum stack_loss what)
{
	__sync_fetch_and_add(&stack_losses[what], 1);
}

/* The number of the current thread's stack. That there is none, as in the
 * kernel of a thread met in user space, is no loss. */
static __always_inline __s32 stack_of(void *ctx, __u64 flags)
{
	long id = bpf_get_stackid(ctx, &stacks, flags);

	if (id == -EEXIST || id == -ENOMEM)
		stack_lost(STACK_LOSS_STACKS_FULL);
	return id;
}

static __always_inline void stack_count(struct stack_key *key, __u64 duration)
{
	struct stack_count *count = bpf_map_lookup_elem(&stack_counts, key);
	struct stack_count none = {};

	if (!count) {
		/* Another CPU may have been faster. */
		bpf_map_update_elem(&stack_counts, key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&stack_counts, key);
	}
	if (!count) {
		stack_lost(STACK_LOSS_COUNTS_FULL);
		return;
	}
	__sync_fetch_and_add(&count->count, 1);
	/* Of a constant 0 the compiler makes an atomic that 5.10 lacks. */
	if (duration)
		__sync_fetch_and_add(&count->duration, duration);
}

#endif
