/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* accept() takes a connection out of the queue. The connection itself knows
 * when it was queued (rcvq_space.time) and how deep the queue was then, so no
 * map of start times is kept, and what was queued before attach is as exact as
 * what came after. */
#ifndef ACCEPTWATCH_ACCEPT_H
#define ACCEPTWATCH_ACCEPT_H

#include "address.bpf.h"
#include "listener.bpf.h"

static __always_inline __u64 wait_us(__u64 now, __u64 queued)
{
	__u64 now_us = now / 1000;

	return queued && now_us > queued ? now_us - queued : 0;
}

/* To be read before the clock, and once: another CPU may be setting it. */
static __always_inline __u64 queued_at(struct tcp_sock *tp)
{
	__u64 queued = READ(tp, rcvq_space.time);

	barrier_var(queued);
	return queued;
}

static __always_inline void count_accept(struct listener *l, __u64 now, __u64 waited, __u8 state)
{
	__sync_fetch_and_add(&l->accepted, 1);
	if (state == TCP_CLOSE_WAIT)
		__sync_fetch_and_add(&l->accepted_close_wait, 1);
	else if (state == TCP_CLOSE)
		__sync_fetch_and_add(&l->accepted_reset, 1);
	l->last_accept = now;
	count_wait(l, waited);
}

/* A dead connection is reported however short it waited. */
static __always_inline bool reports_accept(__u64 waited, __u8 state)
{
	return makes(EVENT_ACCEPTED) &&
	       (waited >= cfg_min_wait_us || state == TCP_CLOSE_WAIT || state == TCP_CLOSE);
}

/* sk gave child, which is tp and in this state, to this thread. */
static __always_inline void accepted(struct sock *sk, struct sock *child, struct tcp_sock *tp,
				     __u8 state)
{
	struct listener *l;
	struct event *e;
	__u64 now, queued, waited;
	__u32 depth;

	if (!wanted_of(sk, child))
		return;
	queued = queued_at(tp);
	now = bpf_ktime_get_ns();
	l = open_listener_of(sk);
	depth = READ(sk, sk_ack_backlog);
	waited = wait_us(now, queued);
	depth_shrunk(l, sk, depth, now);
	count_accept(l, now, waited, state);
	if (!reports_accept(waited, state))
		return;
	e = event_begin();
	if (!e)
		return;
	event_fill(e, EVENT_ACCEPTED, now, queued, state, child, tp);
	e->listener = l->id;
	e->depth = depth;
	e->backlog = READ(sk, sk_max_ack_backlog);
	event_acceptor(e);
	event_end(e);
}

/* The same, when the listener itself cannot be read: its entry, if any. */
static __always_inline void accepted_from_entry(struct listener *l, struct sock *child)
{
	struct tcp_sock *tp;
	struct event *e;
	__u64 now, queued, waited;
	__u8 state;

	if (!wanted_child(child))
		return;
	tp = tcp_sk(child);
	if (!tp)
		return;
	queued = queued_at(tp);
	now = bpf_ktime_get_ns();
	state = state_of(child, tp);
	waited = wait_us(now, queued);
	if (l) {
		count_accept(l, now, waited, state);
		/* The depth itself cannot be read from here. */
		if (l->depth)
			l->depth--;
	} else {
		count_address_accept(child, state);
	}
	if (!reports_accept(waited, state))
		return;
	e = event_begin();
	if (!e)
		return;
	event_fill(e, EVENT_ACCEPTED, now, queued, state, child, tp);
	e->flags = EVENT_FLAG_EXIT_UNSEEN;
	if (l)
		e->listener = l->id;
	event_acceptor(e);
	event_end(e);
}

/* The kernel skips a program that is already running on the CPU (since 5.12,
 * kernel/bpf/trampoline.c). On a preemptible kernel that is so when a thread is
 * preempted inside it and another one accepts meanwhile: 1 in 500 connections
 * of a busy server under emulation on 7.3. security_sock_graft runs with
 * preemption and softirqs off (sock_graft, include/net/sock.h), so a program
 * there is never skipped, and does what the one that sees the listener left out
 * (of MPTCP connections in mode fentry since 6.2 only).
 * Each thread has a place to note what that one has seen; threads whose ids
 * differ by a multiple of 8192 share it. */
#define PLACES 8192

struct seen {
	__u64 child;
	__u64 tid;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct seen);
} seen_accepts SEC(".maps");

static __always_inline void note_seen(struct sock *child)
{
	__u32 tid = this_tid(), place = tid & (PLACES - 1);
	struct seen *seen = bpf_map_lookup_elem(&seen_accepts, &place);

	if (!seen)
		return;
	seen->child = (__u64)child;
	seen->tid = tid;
}

/* What this thread was seen to take; 0: nothing. Taken once: the next connection may
 * be at the same place in memory, and the program that notes it skipped. */
static __always_inline __u64 take_seen(__u32 tid)
{
	__u32 place = tid & (PLACES - 1);
	struct seen *seen = bpf_map_lookup_elem(&seen_accepts, &place);
	__u64 noted;

	if (!seen || seen->tid != tid)
		return 0;
	noted = seen->child;
	seen->child = 0;
	return noted;
}

/* inet_csk_accept returned, where __inet_accept is not watched; child is NULL when
 * it failed, EAGAIN included. */
static __always_inline void handle_accept(struct sock *sk, struct sock *child)
{
	struct tcp_sock *tp;

	if (!child)
		return;
	note_seen(child);
	tp = tcp_sk(child);
	if (tp)
		accepted(sk, child, tp, state_of(child, tp));
}

#ifndef ACCEPTWATCH_PROBING
/* The socket of an MPTCP listener, or of another protocol. What it gives may be
 * the MPTCP socket of a connection or, if the client knows no MPTCP, a TCP one. */
static __noinline void accepted_by_mptcp(struct sock *sk, struct sock *child)
{
	struct tcp_sock *tp;

	if (READ(sk, sk_protocol) != IPPROTO_MPTCP)
		return;
	if (READ(child, sk_protocol) == IPPROTO_MPTCP)
		child = first_subflow(child);
	sk = first_subflow(sk);
	if (!sk || !child)
		return;
	tp = CAST(child, struct tcp_sock);
	accepted(sk, child, tp, state_of(child, tp));
}

/* __inet_accept begins: accept() has taken child out of the queue, locked it, and
 * gives it its descriptor. That is seen of calls entered before attach, too. */
static __always_inline void handle_inet_accept(struct socket *socket, struct sock *child)
{
	struct sock *sk = READ(socket, sk);

	note_seen(child);
	if (READ(sk, sk_protocol) == IPPROTO_TCP)
		accepted(sk, child, CAST(child, struct tcp_sock),
			 READ(child, __sk_common.skc_state));
	else
		accepted_by_mptcp(sk, child);
}
#endif

/* A function of its own, so that calls that were seen do not save the registers
 * that it uses. */
static __noinline void unseen_accept(struct sock *child, __u32 tid, __u64 seen)
{
	struct listener *l = NULL;
	__u64 *found, key = 0;
#ifdef ACCEPTWATCH_PROBING
	struct tcp_sock *tp;
#endif

	found = bpf_map_lookup_elem(&accepting, &tid);
	if (found) {
		key = *found;
		bpf_map_delete_elem(&accepting, &tid);
	}
#ifdef ACCEPTWATCH_PROBING
	tp = key ? tcp_sk(child) : NULL;
	if (tp) {
		accepted((struct sock *)key, child, tp, state_of(child, tp));
		return;
	}
#else
	/* accept() on an MPTCP listener: inet_csk_accept has returned the subflow.
	 * Before 6.2 no typed pointer leads there. */
	if (bpf_rdonly_cast) {
		if (READ(child, sk_protocol) == IPPROTO_MPTCP)
			child = first_subflow(child);
		if (!child || seen == (__u64)child)
			return;
		child = CAST(child, struct sock);
	}
#endif
	if (key)
		l = known_listener((struct sock *)key);
	if (l && (l->port != port_of(child) || l->netns != netns_of(child)))
		l = NULL;
	accepted_from_entry(l, child);
}

/* security_sock_graft: accept() gives the connection its descriptor. It passes
 * for the calls whose exit is not seen: those skipped, those entered before
 * attach, and in kprobe mode all. */
static __always_inline void handle_graft(struct sock *child)
{
	__u32 tid = this_tid();
	__u64 seen;

#ifdef ACCEPTWATCH_PROBING
	/* accept() on an MPTCP listener: what was queued is the subflow. */
	if (READ(child, sk_protocol) == IPPROTO_MPTCP)
		child = first_subflow(child);
	if (!child)
		return;
#endif
	seen = take_seen(tid);
	if (seen != (__u64)child)
		unseen_accept(child, tid, seen);
}

#endif
