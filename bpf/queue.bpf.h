/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* A connection enters the queue, or leaves it because its listener closes. */
#ifndef ACCEPTWATCH_QUEUE_H
#define ACCEPTWATCH_QUEUE_H

#include "listener.bpf.h"

enum carrier {
	CARRIER_HASHDANCE, /* inet_csk_complete_hashdance: plain handshakes;
			    * tcp_child_process: SYN cookies too */
	CARRIER_QUEUE_ADD, /* inet_csk_reqsk_queue_add: Fast Open, SYN cookies; on
			    * kernels that do not inline it, everything */
};

/* child is what the function returned: NULL when it was not queued. */
static __always_inline void handle_enqueue(struct sock *sk, struct sock *child,
					   enum carrier carrier)
{
	struct listener *l;
	__u32 depth;

	if (!child || !wanted_of(sk, child))
		return;
	/* A new child is in SYN_RECV until its queueing is over. Any other comes
	 * from a listener that closes, by way of inet_csk_reqsk_queue_add where
	 * the compiler did not inline it: handle_migrate counts it. */
	if (READ(child, __sk_common.skc_state) != TCP_SYN_RECV)
		return;
	l = open_listener_of(sk);
	if (carrier == CARRIER_HASHDANCE)
		__sync_fetch_and_add(&l->enqueued_hashdance, 1);
	else
		__sync_fetch_and_add(&l->enqueued_queue_add, 1);
	depth = READ(sk, sk_ack_backlog);
	depth_grown(l, sk, depth);
	if (depth == 1)
		l->nonempty_since = bpf_ktime_get_ns();
}

#ifndef ACCEPTWATCH_PROBING
/* tcp_child_process begins, which follows the queueing of every connection that
 * has finished its handshake (tcp_v4_rcv and tcp_v4_do_rcv, net/ipv4/tcp_ipv4.c).
 * It is called for two kinds of MPTCP subflows that are not queued, too: those that
 * join, and those that are refused, which are in CLOSE and no MPTCP any more. */
static __always_inline void handle_child(struct sock *sk, struct sock *child)
{
	struct tcp_sock *tp = CAST(child, struct tcp_sock);

	if (!is_mptcp(tp) || !joins(tp))
		handle_enqueue(sk, child, CARRIER_HASHDANCE);
}

/* inet_csk_reqsk_queue_add, for those that tcp_child_process does not see. */
static __always_inline void handle_fast_open(struct sock *sk, struct sock *child)
{
	if (child && READ(CAST(child, struct tcp_sock), fastopen_rsk))
		handle_enqueue(sk, child, CARRIER_QUEUE_ADD);
}
#endif

/* reuseport_migrate_sock: a listener that closes hands a queued connection to
 * another one of its group, where it keeps the time at which it was first
 * queued (inet_csk_listen_stop, net/ipv4/inet_connection_sock.c, since 5.14).
 * Requests in the middle of their handshake pass here too. If the other
 * listener closes before it has the connection, inet_child_forget counts it
 * there. */
static __always_inline void handle_migrate(struct sock *from, struct sock *child, struct sock *to)
{
	struct listener *l;
	__u32 depth;

	if (!to || READ(child, __sk_common.skc_state) == TCP_NEW_SYN_RECV ||
	    !wanted_of(from, child))
		return;
	l = listener_of(from);
	__sync_fetch_and_add(&l->migrated_out, 1);
	l->depth = READ(from, sk_ack_backlog);
	l = listener_of(to);
	__sync_fetch_and_add(&l->migrated_in, 1);
	/* It is about to be added. */
	depth = READ(to, sk_ack_backlog) + 1;
	depth_grown(l, to, depth);
	if (depth == 1)
		l->nonempty_since = bpf_ktime_get_ns();
}

/* inet_child_forget: the listener is closing, or it closed while the last ACK
 * was on its way. The second was never queued: it is still on its way to
 * ESTABLISHED, without the time of its queueing. */
static __always_inline void handle_forget(struct sock *sk, struct sock *child)
{
	struct tcp_sock *tp;
	struct listener *l;
	struct event *e;
	__u8 state;

	if (!child || !wanted_of(sk, child))
		return;
	tp = tcp_sk(child);
	if (!tp)
		return;
	state = state_of(child, tp);
	if (state == TCP_SYN_RECV && !READ(tp, rcvq_space.time))
		return;
	l = listener_of(sk);
	__sync_fetch_and_add(&l->purged, 1);
	l->depth = READ(sk, sk_ack_backlog);
	if (state == TCP_CLOSE_WAIT || state == TCP_CLOSE)
		__sync_fetch_and_add(&l->purged_dead, 1);
	if (!makes(EVENT_PURGED))
		return;
	e = event_begin();
	if (!e)
		return;
	event_fill(e, EVENT_PURGED, bpf_ktime_get_ns(), READ(tp, rcvq_space.time), state, child,
		   tp);
	e->listener = l->id;
	e->depth = READ(sk, sk_ack_backlog);
	e->backlog = READ(sk, sk_max_ack_backlog);
	event_acceptor(e);
	event_end(e);
}

#endif
