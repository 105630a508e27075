/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Where kernels and machines differ in what they tell of a thread; what they
 * tell of a socket is in compat.bpf.h. */
#ifndef ACCEPTWATCH_COMPAT_TASK_H
#define ACCEPTWATCH_COMPAT_TASK_H

#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* task_struct.state became __state, and shorter, in 5.14 (commit 2f064a59a11f,
 * include/linux/sched.h). */
struct task_struct___v5_14 {
	unsigned int __state;
} __attribute__((preserve_access_index));

struct task_struct___pre_v5_14 {
	volatile long state;
} __attribute__((preserve_access_index));

static __always_inline __u32 task_state(struct task_struct *task)
{
	struct task_struct___v5_14 *newer = (void *)task;

	if (bpf_core_field_exists(newer->__state))
		return newer->__state;
	return ((struct task_struct___pre_v5_14 *)task)->state;
}

#ifndef ACCEPTWATCH_PROBING
/* The thread that runs, since 5.11; its members cost less than the helpers that
 * tell them one at a time. NULL before. */
static __always_inline struct task_struct *this_task(void)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return NULL;
	return bpf_get_current_task_btf();
}
#endif

/* Its id, of all pid namespaces. */
static __always_inline __u32 this_tid(void)
{
#ifndef ACCEPTWATCH_PROBING
	struct task_struct *task = this_task();

	if (task)
		return task->pid;
#endif
	return bpf_get_current_pid_tgid();
}

/* Where a thread left user space: the registers are an ABI, not relocated. */
#if defined(__TARGET_ARCH_x86)
#define USER_PC(regs)	 ((regs)->ip)
#define USER_SP(regs)	 ((regs)->sp)
#define USER_FRAME(regs) ((regs)->bp)
#elif defined(__TARGET_ARCH_arm64)
#define USER_PC(regs)	 ((regs)->user_regs.pc)
#define USER_SP(regs)	 ((regs)->user_regs.sp)
#define USER_FRAME(regs) ((regs)->user_regs.regs[29])
#endif

#endif
