/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* A connection enters the queue, or leaves it because its listener closes. */
#ifndef ACCEPTWATCH_QUEUE_H
#define ACCEPTWATCH_QUEUE_H

#include "listener.bpf.h"

enum carrier {
	CARRIER_HASHDANCE, /* inet_csk_complete_hashdance: plain handshakes */
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
	l = listener_of(sk);
	if (carrier == CARRIER_HASHDANCE)
		__sync_fetch_and_add(&l->enqueued_hashdance, 1);
	else
		__sync_fetch_and_add(&l->enqueued_queue_add, 1);
	depth = READ(sk, sk_ack_backlog);
	l->depth = depth;
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
	state = READ(child, __sk_common.skc_state);
	if (state == TCP_SYN_RECV && !READ(tp, rcvq_space.time))
		return;
	l = listener_of(sk);
	__sync_fetch_and_add(&l->purged, 1);
	if (state == TCP_CLOSE_WAIT || state == TCP_CLOSE)
		__sync_fetch_and_add(&l->purged_dead, 1);
	if (!makes(EVENT_PURGED))
		return;
	e = event_begin();
	if (!e)
		return;
	event_fill(e, EVENT_PURGED, bpf_ktime_get_ns(), child, tp);
	e->listener = l->id;
	e->depth = READ(sk, sk_ack_backlog);
	e->backlog = READ(sk, sk_max_ack_backlog);
	event_acceptor(e);
	event_end(e);
}

#endif
