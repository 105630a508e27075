/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Listeners and what is in their queues, now. The socket iterator visits
 * listeners first; user space stops reading at the first other socket, which
 * this marks by a byte of output. */
#ifndef ACCEPTWATCH_WALK_H
#define ACCEPTWATCH_WALK_H

#include "listener.bpf.h"

/* How many entries of one queue a walk looks at. Without bpf_loop (before
 * 5.17) the verifier follows every turn of the loop, which bounds it. */
#define WALK_LOOP    65536
#define WALK_BOUNDED 512

struct walk {
	struct request_sock *req;
	struct sock *listener;
	__u64 id;
	__u64 now;
	__u64 limits; /* depth << 32 | backlog */
};

static __always_inline void walk_report(struct sock *child, __u64 id, __u64 now, __u64 limits)
{
	struct tcp_sock *tp = tcp_sk(child);
	struct event *e;

	if (!tp)
		return;
	/* Half of the ring stays free for what happens meanwhile. */
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > cfg_ring_size / 2) {
		lost(LOSS_WALK_ENTRIES);
		return;
	}
	e = event_begin();
	if (!e)
		return;
	event_fill(e, EVENT_QUEUED, now, READ(tp, rcvq_space.time), state_of(child, tp), child, tp);
	e->listener = id;
	e->depth = limits >> 32;
	e->backlog = limits;
	event_end(e);
}

#ifdef ACCEPTWATCH_PROBING
/* A global function is verified once, not once a turn of the loop; it takes
 * scalars, which is what pointers are to a program that reads by probe. */
__noinline int walk_report_once(__u64 child, __u64 id, __u64 now, __u64 limits)
{
	walk_report((struct sock *)child, id, now, limits);
	return 0;
}
#define WALK_REPORT(child, ...) walk_report_once((__u64)(child), __VA_ARGS__)
#else
#define WALK_REPORT walk_report
#endif

/* One entry; returns whether another may follow. */
static __always_inline bool walk_entry(struct walk *w)
{
	struct request_sock *req = w->req;
	struct sock *child, *listener;

	if (!req)
		return false;
	/* On 5.10 the queue may change under the walk, and a request_sock may have
	 * found another use. Those of SYN cookies name no listener
	 * (cookie_tcp_reqsk_alloc, net/ipv4/syncookies.c). */
	listener = READ(req, __req_common.skc_listener);
	if (listener && listener != w->listener)
		return false;
	child = READ(req, sk);
	w->req = READ(req, dl_next);
	if (child)
		WALK_REPORT(child, w->id, w->now, w->limits);
	return true;
}

static long walk_turn(__u32 index, struct walk *w)
{
	return walk_entry(w) ? 0 : 1;
}

static __always_inline void handle_walk(struct bpf_iter__tcp *ctx, bool loop)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp;
	struct listener *l;
	struct walk w = {};
	__u32 depth, backlog;
	struct event *e;
	struct sock *sk;
	__u8 none = 0;

	if (!skc)
		return;
	if (READ(skc, skc_state) != TCP_LISTEN) {
		bpf_seq_write(ctx->meta->seq, &none, sizeof(none));
		return;
	}
	tp = tcp_sk(skc);
	if (!tp)
		return;
	sk = (struct sock *)tp;
	w.now = bpf_ktime_get_ns();
	l = known_listener(sk);
	if (l)
		l->walked = w.now;
	if (!wanted_listener(sk))
		return;
	l = listener_of(sk);
	if (l->inode != listener_inode(sk) || l->port != port_of(sk)) {
		/* Memory of a listener whose end was not seen. */
		listener_closed(sk);
		l = listener_of(sk);
	}
	w.listener = sk;
	w.id = l->id;
	depth = READ(sk, sk_ack_backlog);
	backlog = READ(sk, sk_max_ack_backlog);
	w.limits = (__u64)depth << 32 | backlog;
	w.req = READ(tp, inet_conn.icsk_accept_queue.rskq_accept_head);
	depth_grown(l, sk, depth);
	/* In restricted mode nothing else sees what leaves the queue. */
	depth_shrunk(l, sk, depth, w.now);
	e = event_begin();
	if (e) {
		event_fill(e, EVENT_LISTENER, w.now, 0, TCP_LISTEN, sk, tp);
		e->listener = w.id;
		e->depth = depth;
		e->depth_at_entry = 0;
		e->backlog = backlog;
		e->unread = 0;
		e->inode = l->inode;
		e->peer_port = 0;
		if (l->v6only)
			e->flags |= EVENT_FLAG_V6ONLY;
		if (is_mptcp(tp))
			e->flags |= EVENT_FLAG_MPTCP;
		if (depth > (loop ? WALK_LOOP : WALK_BOUNDED))
			e->flags |= EVENT_FLAG_WALK_CUT;
		event_end(e);
	}
	if (loop) {
		bpf_loop(WALK_LOOP, walk_turn, &w, 0);
		return;
	}
	for (int i = 0; i < WALK_BOUNDED; i++)
		if (!walk_entry(&w))
			break;
}

#endif
