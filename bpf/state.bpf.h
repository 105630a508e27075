/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* A connection dies in the queue: its peer's FIN moves it to CLOSE_WAIT, an error
 * to CLOSE. Every change of state passes tcp_set_state, five to nine for each
 * connection of the host. But only tcp_fin moves to CLOSE_WAIT, and since 6.11
 * (commit 5e514f1cba09 and those after it) whatever closes a TCP connection with an
 * error does it in tcp_done_with_error (net/ipv4/tcp_input.c): the first runs once
 * for each end that is closed by its peer, the second never in a healthy life.
 * Stable kernels since 5.15 have the second too, but tcp_abort (ss -K,
 * bpf_sock_destroy) did without it there for long. So before 6.11, and where
 * one of the two is missing or never called, tcp_set_state is watched, with the
 * cheapest tests first. (Two deaths of MPTCP close the subflow by tcp_set_state
 * alone: with EBADMSG when the peer breaks the rules, subflow_check_data_avail in
 * net/mptcp/subflow.c, and without an error when an MP_FASTCLOSE comes in an ACK,
 * mptcp_check_fastclose in net/mptcp/protocol.c. Linux sends that in a RST, which
 * is seen. Accept or the next walk finds these two.) */
#ifndef ACCEPTWATCH_STATE_H
#define ACCEPTWATCH_STATE_H

#include "address.bpf.h"

/* Only a connection that was never accepted is in ESTABLISHED or CLOSE_WAIT
 * without a socket: close() leaves both states at once, and marks it dead. */
static __always_inline bool unaccepted(struct sock *sk)
{
	return !READ(sk, sk_socket) && !(READ(sk, __sk_common.skc_flags) & 1 << SOCK_DEAD);
}

static __always_inline void count_death(struct sock *sk, int state, __u8 old)
{
	struct address_counts *counts = address_of(sk);

	if (state == TCP_CLOSE_WAIT) {
		__sync_fetch_and_add(&counts->close_wait, 1);
		return;
	}
	__sync_fetch_and_add(&counts->reset, 1);
	if (old == TCP_CLOSE_WAIT)
		__sync_fetch_and_add(&counts->reset_after_fin, 1);
}

/* What is received and not read still counts the FIN when fin is 1. */
static __always_inline void died(struct sock *sk, struct tcp_sock *tp, int state, __u8 old,
				 int error, __u32 fin)
{
	enum event_kind kind = state == TCP_CLOSE ? EVENT_RESET : EVENT_CLOSE_WAIT;
	struct event *e;

	count_death(sk, state, old);
	if (!makes(kind))
		return;
	e = event_begin();
	if (!e)
		return;
	event_fill(e, kind, bpf_ktime_get_ns(), READ(tp, rcvq_space.time), state, sk, tp);
	e->unread -= fin;
	e->error = error;
	if (old == TCP_CLOSE_WAIT)
		e->flags = EVENT_FLAG_AFTER_FIN;
	event_end(e);
}

/* What follows the tests that nearly every change of state fails. It is a
 * function of its own so that those do not save the registers that it uses. */
static __noinline void handle_death(struct sock *sk, int state, __u8 old, int error, __u32 fin)
{
	struct mptcp_sock *msk;
	struct tcp_sock *tp;

	if (!wanted_child(sk))
		return;
	tp = tcp_sk(sk);
	if (!tp)
		return;
	/* A failed handshake; a queued connection in SYN_RECV is one of Fast Open. */
	if (old == TCP_SYN_RECV && !READ(tp, rcvq_space.time))
		return;
	if (is_mptcp(tp)) {
		/* What ends an MPTCP connection is seen at its MPTCP socket, but
		 * for the reset of the subflow that is in the queue. */
		msk = state == TCP_CLOSE ? mptcp_sk(sk) : NULL;
		if (!msk || BPF_CORE_READ(msk, first) != sk)
			return;
		old = state_of(sk, tp);
	}
	/* No error: the listener is closing, handle_forget sees it. */
	if (state == TCP_CLOSE && !error)
		return;
	died(sk, tp, state, old, error, fin);
}

#ifdef ACCEPTWATCH_PROBING
/* An MPTCP socket changes its state, which no tracing program can follow to its
 * subflow by typed pointers. */
static __always_inline void handle_mptcp_state(struct sock *msk, int state)
{
	__u8 old = READ(msk, __sk_common.skc_state);
	struct tcp_sock *tp;
	struct sock *sk;
	int error = 0;

	if ((state != TCP_CLOSE_WAIT && state != TCP_CLOSE) ||
	    (old != TCP_ESTABLISHED && old != TCP_CLOSE_WAIT) || !unaccepted(msk))
		return;
	sk = first_subflow(msk);
	if (!sk || !wanted_child(sk))
		return;
	tp = tcp_sk(sk);
	/* Its reset was seen at the subflow. */
	if (!tp || READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		return;
	if (state == TCP_CLOSE) {
		error = READ(msk, sk_err);
		if (!error)
			return;
	}
	died(sk, tp, state, old, error, 0);
}
#endif

/* tcp_fin begins: the FIN is in rcv_nxt, and the socket not yet marked as done. */
static __always_inline void handle_fin(struct sock *sk)
{
	if (READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED && unaccepted(sk))
		handle_death(sk, TCP_CLOSE_WAIT, TCP_ESTABLISHED, 0, 1);
}

/* tcp_done_with_error begins. A queued connection in SYN_RECV is one of Fast Open. */
static __always_inline void handle_failure(struct sock *sk, int error)
{
	__u8 old = READ(sk, __sk_common.skc_state);

	if ((old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT || old == TCP_SYN_RECV) &&
	    unaccepted(sk))
		handle_death(sk, TCP_CLOSE, old, error, 0);
}

/* tcp_set_state begins: sk_state is still the old one. */
static __always_inline void handle_state(struct sock *sk, int state)
{
	__u8 old;

	if (state != TCP_CLOSE_WAIT && state != TCP_CLOSE)
		return;
	old = READ(sk, __sk_common.skc_state);
	if (old != TCP_ESTABLISHED && old != TCP_CLOSE_WAIT &&
	    (old != TCP_SYN_RECV || state != TCP_CLOSE))
		return;
	if (unaccepted(sk))
		handle_death(sk, state, old, state == TCP_CLOSE ? READ(sk, sk_err) : 0, 0);
}

/* restricted mode: nothing else sees what enters the queue. */
static __always_inline void count_enqueue(struct sock *sk, int old, int state)
{
	struct address_counts *counts;
	struct tcp_sock *tp;

	if (old != TCP_SYN_RECV || state != TCP_ESTABLISHED || !unaccepted(sk) || !wanted_child(sk))
		return;
	tp = tcp_sk(sk);
	if (!tp || is_mptcp(tp))
		return;
	counts = address_of(sk);
	__sync_fetch_and_add(&counts->enqueued, 1);
}

#endif
