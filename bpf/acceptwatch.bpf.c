// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* Entry points: each unpacks its arguments and calls a handler. Compiled
 * twice: programs that read typed pointers, and programs that read by
 * bpf_probe_read_kernel (ACCEPTWATCH_PROBING): all kprobes, and what no typed
 * pointer leads to. */
#include "vmlinux.h"

#include "accept.bpf.h"
#include "error.bpf.h"
#include "overflow.bpf.h"
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

#ifndef ACCEPTWATCH_PROBING

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

/* Since 6.2: typed programs get from an MPTCP listener to its queue. */
SEC("fentry/__inet_accept")
int BPF_PROG(inet_accept_entry, struct socket *socket, void *to, struct sock *child)
{
	handle_inet_accept(socket, child);
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

/* Since 6.2: typed programs tell a subflow that joins. */
SEC("fentry/tcp_child_process")
int BPF_PROG(child_entry, struct sock *sk, struct sock *child)
{
	handle_child(sk, child);
	return 0;
}

SEC("fexit/inet_csk_reqsk_queue_add")
int BPF_PROG(fast_open_exit, struct sock *sk, void *req, struct sock *child, struct sock *queued)
{
	handle_fast_open(sk, queued);
	return 0;
}

SEC("fentry/tcp_fin")
int BPF_PROG(fin_entry, struct sock *sk)
{
	handle_fin(sk);
	return 0;
}

SEC("fentry/tcp_done_with_error")
int BPF_PROG(failure_entry, struct sock *sk, int error)
{
	handle_failure(sk, error);
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

SEC("fexit/reuseport_migrate_sock")
int BPF_PROG(migrate_exit, struct sock *sk, struct sock *child, void *skb, struct sock *to)
{
	handle_migrate(sk, child, to);
	return 0;
}

SEC("fentry/tcp_conn_request")
int BPF_PROG(syn_entry, void *rsk_ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	handle_syn(sk, skb);
	return 0;
}

SEC("fentry/tcp_v4_syn_recv_sock")
int BPF_PROG(last_ack_v4_entry, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	handle_last_ack(sk, req);
	return 0;
}

SEC("fentry/tcp_v6_syn_recv_sock")
int BPF_PROG(last_ack_v6_entry, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	handle_last_ack_v6(sk, skb, req);
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

/* The arguments of a function between its entry and its return, where it runs
 * with softirqs off: it does not nest on one CPU. */
enum entered_at {
	AT_HASHDANCE,
	AT_QUEUE_ADD,
	AT_MIGRATE,
	ENTERED_PLACES,
};

struct entered {
	struct sock *sk;
	struct sock *child;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ENTERED_PLACES);
	__type(key, __u32);
	__type(value, struct entered);
} entered SEC(".maps");

static __always_inline void enter(enum entered_at at, struct sock *sk, struct sock *child)
{
	struct entered now = {sk, child};
	__u32 key = at;

	bpf_map_update_elem(&entered, &key, &now, BPF_ANY);
}

/* Taken once: the next entry may be skipped, and these sockets gone. */
static __always_inline bool leave(enum entered_at at, struct entered *was)
{
	struct entered *found;
	__u32 key = at;

	found = bpf_map_lookup_elem(&entered, &key);
	if (!found || !found->sk)
		return false;
	*was = *found;
	found->sk = NULL;
	return true;
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
	enter(AT_HASHDANCE, sk, NULL);
	return 0;
}

SEC("kretprobe/inet_csk_complete_hashdance")
int BPF_KRETPROBE(hashdance_kretprobe, struct sock *queued)
{
	struct entered was;

	if (leave(AT_HASHDANCE, &was))
		handle_enqueue(was.sk, queued, CARRIER_HASHDANCE);
	return 0;
}

SEC("kprobe/inet_csk_reqsk_queue_add")
int BPF_KPROBE(queue_add_kprobe, struct sock *sk)
{
	enter(AT_QUEUE_ADD, sk, NULL);
	return 0;
}

SEC("kretprobe/inet_csk_reqsk_queue_add")
int BPF_KRETPROBE(queue_add_kretprobe, struct sock *queued)
{
	struct entered was;

	if (leave(AT_QUEUE_ADD, &was))
		handle_enqueue(was.sk, queued, CARRIER_QUEUE_ADD);
	return 0;
}

SEC("kprobe/tcp_fin")
int BPF_KPROBE(fin_kprobe, struct sock *sk)
{
	handle_fin(sk);
	return 0;
}

SEC("kprobe/tcp_done_with_error")
int BPF_KPROBE(failure_kprobe, struct sock *sk, int error)
{
	handle_failure(sk, error);
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

SEC("kprobe/reuseport_migrate_sock")
int BPF_KPROBE(migrate_kprobe, struct sock *sk, struct sock *child)
{
	enter(AT_MIGRATE, sk, child);
	return 0;
}

SEC("kretprobe/reuseport_migrate_sock")
int BPF_KRETPROBE(migrate_kretprobe, struct sock *to)
{
	struct entered was;

	if (leave(AT_MIGRATE, &was))
		handle_migrate(was.sk, was.child, to);
	return 0;
}

SEC("kprobe/tcp_conn_request")
int BPF_KPROBE(syn_kprobe, void *rsk_ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	handle_syn(sk, skb);
	return 0;
}

SEC("kprobe/tcp_v4_syn_recv_sock")
int BPF_KPROBE(last_ack_v4_kprobe, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	handle_last_ack(sk, req);
	return 0;
}

SEC("kprobe/tcp_v6_syn_recv_sock")
int BPF_KPROBE(last_ack_v6_kprobe, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	handle_last_ack_v6(sk, skb, req);
	return 0;
}

/* What a thread called accept() with: a descriptor or a request of io_uring. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} accept_calls SEC(".maps");

static __always_inline void call_begins(__u64 argument)
{
	__u32 tid = bpf_get_current_pid_tgid();

	if (bpf_map_update_elem(&accept_calls, &tid, &argument, BPF_ANY))
		lost(LOSS_CALLS_FULL);
}

static __always_inline bool call_ends(__u64 *argument)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 *found = bpf_map_lookup_elem(&accept_calls, &tid);

	if (!found)
		return false;
	*argument = *found;
	bpf_map_delete_elem(&accept_calls, &tid);
	return true;
}

SEC("kprobe/__sys_accept4")
int BPF_KPROBE(syscall_kprobe, int fd)
{
	call_begins(fd);
	return 0;
}

SEC("kretprobe/__sys_accept4")
int BPF_KRETPROBE(syscall_kretprobe, int returned)
{
	__u64 fd;

	if (call_ends(&fd))
		handle_syscall(fd, returned);
	return 0;
}

SEC("kprobe/io_accept")
int BPF_KPROBE(io_uring_kprobe, struct io_kiocb *req)
{
	call_begins((__u64)req);
	return 0;
}

SEC("kretprobe/io_accept")
int BPF_KRETPROBE(io_uring_kretprobe, int returned)
{
	__u64 req;

	if (call_ends(&req))
		handle_io_uring((struct io_kiocb *)req, returned);
	return 0;
}

/* MPTCP sockets, whose mptcp_set_state is inlined; TCP sockets pass here too. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(mptcp_state_tracepoint, struct sock *sk, int old, int state)
{
	if (READ(sk, sk_protocol) == IPPROTO_MPTCP)
		handle_mptcp_state(sk, state);
	return 0;
}

#endif

SEC("fexit/__sys_accept4")
int BPF_PROG(syscall_exit, int fd, void *addr, void *len, int flags, int returned)
{
	handle_syscall(fd, returned);
	return 0;
}

SEC("fexit/io_accept")
int BPF_PROG(io_uring_exit, struct io_kiocb *req, unsigned int flags, int returned)
{
	handle_io_uring(req, returned);
	return 0;
}

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
