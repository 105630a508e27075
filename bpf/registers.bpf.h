/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* With which registers the watched threads entered the kernel, where they
 * sleep since before the start. */
#ifndef ACCEPTWATCH_REGISTERS_H
#define ACCEPTWATCH_REGISTERS_H

#include "stackmaps.bpf.h"

static __always_inline void handle_registers(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread_registers out = {};
	struct pt_regs *regs;

	if (!task)
		return;
	out.tid = task->pid;
	if (!bpf_map_lookup_elem(&threads, &out.tid))
		return;
	out.tgid = task->tgid;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	out.pc = USER_PC(regs);
	out.sp = USER_SP(regs);
	out.frame = USER_FRAME(regs);
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
}

#endif
