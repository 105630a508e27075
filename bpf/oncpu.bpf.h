/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* What the followed processes do on the CPU: one sample at each tick of the
 * clock of a CPU that runs one of their threads, new ones too. */
#ifndef ACCEPTWATCH_ONCPU_H
#define ACCEPTWATCH_ONCPU_H

#include "stackmaps.bpf.h"

static __always_inline void handle_tick(void *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 tgid = pid_tgid >> 32;
	struct stack_key key = {
		.tgid = tgid,
		.tid = pid_tgid,
		.state = STATE_ON_CPU,
	};

	if (!bpf_map_lookup_elem(&processes, &tgid))
		return;
	key.user = stack_of(ctx, BPF_F_USER_STACK);
	key.kernel = stack_of(ctx, 0);
	stack_count(&key, 0);
}

#endif
