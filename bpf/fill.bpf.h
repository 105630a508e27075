/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Events: room in the ring, and what every event says of its connection. */
#ifndef ACCEPTWATCH_FILL_H
#define ACCEPTWATCH_FILL_H

#include "compat_task.bpf.h"
#include "filter.bpf.h"

static __always_inline bool makes(enum event_kind kind)
{
	return cfg_kinds >> kind & 1;
}

static __always_inline struct event *event_begin(void)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		lost(LOSS_RING_FULL);
	return e;
}

/* User space looks at the ring twenty times a second: waking it for each event
 * would cost more than making the event. */
static __always_inline void event_end(struct event *e)
{
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

static __always_inline void copy_local_addr(__u8 to[16], struct sock *sk, __u16 family)
{
	__u32 *words = (__u32 *)to;

	if (family == AF_INET) {
		words[0] = READ(sk, __sk_common.skc_rcv_saddr);
		return;
	}
	words[0] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0]);
	words[1] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1]);
	words[2] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2]);
	words[3] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3]);
}

static __always_inline void copy_peer_addr(__u8 to[16], struct sock *sk, __u16 family)
{
	__u32 *words = (__u32 *)to;

	if (family == AF_INET) {
		words[0] = READ(sk, __sk_common.skc_daddr);
		return;
	}
	words[0] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[0]);
	words[1] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[1]);
	words[2] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[2]);
	words[3] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
}

/* Each read of a socket is eight instructions more than a load, so both ends are
 * read at once. */
static __always_inline void copy_addrs(struct event *e, struct sock *sk, __u16 family)
{
	__u64 pair;

	if (family == AF_INET) {
		pair = READ(sk, __sk_common.skc_addrpair);
		*(__u32 *)e->local_addr = pair >> 32;
		*(__u32 *)e->peer_addr = pair;
		return;
	}
	copy_local_addr(e->local_addr, sk, family);
	copy_peer_addr(e->peer_addr, sk, family);
}

/* Received and not read; a FIN takes one sequence number and is no byte. */
static __always_inline __u32 unread_bytes(struct sock *sk, struct tcp_sock *tp)
{
	__u32 bytes = READ(tp, rcv_nxt) - READ(tp, copied_seq);

	if (bytes && READ(sk, __sk_common.skc_flags) & 1 << SOCK_DONE)
		bytes--;
	return bytes;
}

/* All members of an event: ring memory still holds what was there before. */
static __always_inline void event_fill(struct event *e, enum event_kind kind, __u64 now,
				       __u64 queued, __u8 state, struct sock *sk,
				       struct tcp_sock *tp)
{
	__u16 family = READ(sk, __sk_common.skc_family);
	__u32 ports = READ(sk, __sk_common.skc_portpair);

	e->time = now;
	e->queued = queued;
	e->listener = 0;
	e->cookie = READ(sk, __sk_common.skc_cookie.counter);
	copy_addrs(e, sk, family);
	e->local_port = ports >> 16 ?: port_of(sk);
	e->peer_port = bpf_ntohs(ports);
	e->netns = netns_of(sk);
	e->ifindex = READ(sk, __sk_common.skc_bound_dev_if);
	e->depth = 0;
	/* The clone of the listener that became this connection copied the
	 * listener's count with it (sk_clone_lock, net/core/sock.c). */
	e->depth_at_entry = READ(sk, sk_ack_backlog);
	e->backlog = 0;
	e->unread = unread_bytes(sk, tp);
	e->pid = 0;
	e->tid = 0;
	e->inode = 0;
	e->error = 0;
	e->kind = kind;
	e->family = family;
	e->state = state;
	e->flags = 0;
	e->reserved = 0;
	/* By words: clang clears an array of bytes byte by byte. */
	((__u64 *)e->comm)[0] = 0;
	((__u64 *)e->comm)[1] = 0;
}

static __always_inline void event_acceptor(struct event *e)
{
	__u64 pid_tgid;
#ifndef ACCEPTWATCH_PROBING
	struct task_struct *task = this_task();

	if (task && bpf_core_field_size(task->comm) == sizeof(e->comm)) {
		e->pid = task->tgid;
		e->tid = task->pid;
		((__u64 *)e->comm)[0] = ((__u64 *)task->comm)[0];
		((__u64 *)e->comm)[1] = ((__u64 *)task->comm)[1];
		return;
	}
#endif
	pid_tgid = bpf_get_current_pid_tgid();
	e->pid = pid_tgid >> 32;
	e->tid = pid_tgid;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

#endif
