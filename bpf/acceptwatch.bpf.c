// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* Entry points: each unpacks its arguments and calls a handler. Compiled
 * twice: tracing programs, and kprobes (ACCEPTWATCH_KPROBE). */
#include "vmlinux.h"

#include "accept.bpf.h"
#include "queue.bpf.h"
#include "state.bpf.h"
#include "walk.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* For the generated Go types. */
const struct event *unused_event __attribute__((unused));
const enum event_kind *unused_kind __attribute__((unused));
const enum event_flag *unused_flag __attribute__((unused));
const enum loss *unused_loss __attribute__((unused));
const enum histogram_slot *unused_slot __attribute__((unused));

#ifndef ACCEPTWATCH_KPROBE

/* Before 6.10: inet_csk_accept(sk, flags, err, kern). */
SEC("fexit/inet_csk_accept")
int BPF_PROG(accept_exit_four_args, struct sock *sk, int flags, int *err, bool kern,
	     struct sock *child)
{
	handle_accept(sk, child);
	return 0;
}

/* Since 6.10: inet_csk_accept(sk, arg). */
SEC("fexit/inet_csk_accept")
int BPF_PROG(accept_exit_two_args, struct sock *sk, void *arg, struct sock *child)
{
	handle_accept(sk, child);
	return 0;
}

SEC("fentry/security_sock_graft")
int BPF_PROG(graft_entry, struct sock *child)
{
	handle_graft(child);
	return 0;
}

SEC("fexit/inet_csk_complete_hashdance")
int BPF_PROG(hashdance_exit, struct sock *sk, struct sock *child, void *req, bool own_req,
	     struct sock *queued)
{
	handle_enqueue(sk, queued, CARRIER_HASHDANCE);
	return 0;
}

SEC("fexit/inet_csk_reqsk_queue_add")
int BPF_PROG(queue_add_exit, struct sock *sk, void *req, struct sock *child, struct sock *queued)
{
	handle_enqueue(sk, queued, CARRIER_QUEUE_ADD);
	return 0;
}

SEC("fentry/tcp_set_state")
int BPF_PROG(state_entry, struct sock *sk, int state)
{
	handle_state(sk, state);
	return 0;
}

SEC("fentry/inet_child_forget")
int BPF_PROG(forget_entry, struct sock *sk, void *req, struct sock *child)
{
	handle_forget(sk, child);
	return 0;
}

SEC("fexit/inet_csk_listen_stop")
int BPF_PROG(listen_stop_exit, struct sock *sk)
{
	listener_closed(sk);
	return 0;
}

/* restricted mode: no trampolines, but typed tracepoints. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_tracepoint, struct sock *sk, int old, int state)
{
	if (READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	handle_state(sk, state);
	count_enqueue(sk, old, state);
	return 0;
}

#else

/* The listener between the entry and the return of a function of the enqueue
 * path: softirqs do not migrate, and these do not nest on one CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct sock *);
} enqueueing SEC(".maps");

static __always_inline void enqueue_entered(struct sock *sk, __u32 carrier)
{
	bpf_map_update_elem(&enqueueing, &carrier, &sk, BPF_ANY);
}

static __always_inline void enqueue_returned(struct sock *queued, __u32 carrier)
{
	struct sock **entered = bpf_map_lookup_elem(&enqueueing, &carrier), *sk;

	if (!entered || !*entered)
		return;
	/* Taken once: the next entry may be skipped, and this listener gone. */
	sk = *entered;
	*entered = NULL;
	handle_enqueue(sk, queued, carrier);
}

/* The listener that a thread is closing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} closing SEC(".maps");

SEC("kprobe/inet_csk_accept")
int BPF_KPROBE(accept_kprobe, struct sock *sk)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 key = (__u64)sk;

	if (!wanted_listener(sk)) {
		/* Not what an earlier call of this thread left. */
		bpf_map_delete_elem(&accepting, &tid);
		return 0;
	}
	if (bpf_map_update_elem(&accepting, &tid, &key, BPF_ANY))
		lost(LOSS_ACCEPTING_FULL);
	return 0;
}

SEC("kprobe/security_sock_graft")
int BPF_KPROBE(graft_kprobe, struct sock *child)
{
	handle_graft(child);
	return 0;
}

SEC("kprobe/inet_csk_complete_hashdance")
int BPF_KPROBE(hashdance_kprobe, struct sock *sk)
{
	enqueue_entered(sk, CARRIER_HASHDANCE);
	return 0;
}

SEC("kretprobe/inet_csk_complete_hashdance")
int BPF_KRETPROBE(hashdance_kretprobe, struct sock *queued)
{
	enqueue_returned(queued, CARRIER_HASHDANCE);
	return 0;
}

SEC("kprobe/inet_csk_reqsk_queue_add")
int BPF_KPROBE(queue_add_kprobe, struct sock *sk)
{
	enqueue_entered(sk, CARRIER_QUEUE_ADD);
	return 0;
}

SEC("kretprobe/inet_csk_reqsk_queue_add")
int BPF_KRETPROBE(queue_add_kretprobe, struct sock *queued)
{
	enqueue_returned(queued, CARRIER_QUEUE_ADD);
	return 0;
}

SEC("kprobe/tcp_set_state")
int BPF_KPROBE(state_kprobe, struct sock *sk, int state)
{
	handle_state(sk, state);
	return 0;
}

SEC("kprobe/inet_child_forget")
int BPF_KPROBE(forget_kprobe, struct sock *sk, void *req, struct sock *child)
{
	handle_forget(sk, child);
	return 0;
}

SEC("kprobe/inet_csk_listen_stop")
int BPF_KPROBE(listen_stop_kprobe, struct sock *sk)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 key = (__u64)sk;

	bpf_map_update_elem(&closing, &tid, &key, BPF_ANY);
	return 0;
}

SEC("kretprobe/inet_csk_listen_stop")
int BPF_KRETPROBE(listen_stop_kretprobe)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 *key = bpf_map_lookup_elem(&closing, &tid);

	if (!key)
		return 0;
	listener_closed((struct sock *)*key);
	bpf_map_delete_elem(&closing, &tid);
	return 0;
}

#endif

SEC("iter/tcp")
int walk_loop(struct bpf_iter__tcp *ctx)
{
	handle_walk(ctx, true);
	return 0;
}

/* Before 5.17, which has no bpf_loop. */
SEC("iter/tcp")
int walk_bounded(struct bpf_iter__tcp *ctx)
{
	handle_walk(ctx, false);
	return 0;
}
