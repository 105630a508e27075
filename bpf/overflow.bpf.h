/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* A connection is refused because the queue is full: at its SYN, which is then
 * dropped, or at the last ACK of its handshake, when its client believes to be
 * connected. Both are counted where the kernel counts ListenOverflows
 * (but for SYNs that it drops before, because there are too many handshakes), and what
 * a client sends again counts again. These run for every connection of the
 * host, so the test for a full queue comes first, and what follows it is a
 * function of its own, so that the test does not save the registers it uses. */
#ifndef ACCEPTWATCH_OVERFLOW_H
#define ACCEPTWATCH_OVERFLOW_H

#include "listener.bpf.h"

/* Of the packet that was dropped. */
struct ends {
	__u32 local[4]; /* network order, IPv4 mapped into IPv6 */
	__u32 peer[4];
	__u16 peer_port; /* host order */
	bool known;
};

#define IPV4_ADDRS 12 /* offsets of source and destination in their headers */
#define IPV6_ADDRS 8

/* A SYN has no request yet: its addresses are in the packet, where only
 * bpf_probe_read_kernel gets at them. */
static __always_inline void read_ends(struct ends *ends, struct sk_buff *skb)
{
	unsigned char *head = READ(skb, head);
	unsigned char *network = head + READ(skb, network_header);
	unsigned char *transport = head + READ(skb, transport_header);
	__u32 addrs[8];
	__be16 port = 0;

	if (READ(skb, protocol) == bpf_htons(ETH_P_IP)) {
		if (bpf_probe_read_kernel(addrs, 8, network + IPV4_ADDRS))
			return;
		ends->peer[2] = ends->local[2] = bpf_htonl(0xffff);
		ends->peer[3] = addrs[0];
		ends->local[3] = addrs[1];
	} else {
		if (bpf_probe_read_kernel(addrs, 32, network + IPV6_ADDRS))
			return;
		__builtin_memcpy(ends->peer, addrs, 16);
		__builtin_memcpy(ends->local, addrs + 4, 16);
	}
	if (bpf_probe_read_kernel(&port, sizeof(port), transport))
		return;
	ends->peer_port = bpf_ntohs(port);
	ends->known = true;
}

static __always_inline struct event *overflow_begin(struct listener *l, struct sock *sk)
{
	struct event *e;

	if (!makes(EVENT_OVERFLOW))
		return NULL;
	e = event_begin();
	if (!e)
		return NULL;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	e->listener = l->id;
	e->local_port = port_of(sk);
	e->netns = netns_of(sk);
	e->ifindex = READ(sk, __sk_common.skc_bound_dev_if);
	e->depth = READ(sk, sk_ack_backlog);
	e->backlog = READ(sk, sk_max_ack_backlog);
	e->kind = EVENT_OVERFLOW;
	e->family = READ(sk, __sk_common.skc_family);
	return e;
}

static __always_inline bool wanted_packet(struct sock *sk, struct ends *ends, struct sk_buff *skb)
{
	if (!wanted_listener(sk))
		return false;
	if (cfg_family &&
	    READ(skb, protocol) != bpf_htons(cfg_family == AF_INET ? ETH_P_IP : ETH_P_IPV6))
		return false;
	return !cfg_addr_on || !ends->known || wanted_words(ends->local);
}

static __noinline void refused_syn(struct sock *sk, struct sk_buff *skb)
{
	struct ends ends = {};
	struct listener *l;
	struct event *e;

	if (cfg_probe_read)
		read_ends(&ends, skb);
	if (!wanted_packet(sk, &ends, skb))
		return;
	l = open_listener_of(sk);
	__sync_fetch_and_add(&l->overflow_syn, 1);
	e = overflow_begin(l, sk);
	if (!e)
		return;
	if (!ends.known) {
		copy_local_addr(e->local_addr, sk, e->family);
	} else if (e->family == AF_INET) {
		__builtin_memcpy(e->local_addr, &ends.local[3], 4);
		__builtin_memcpy(e->peer_addr, &ends.peer[3], 4);
	} else {
		__builtin_memcpy(e->local_addr, ends.local, 16);
		__builtin_memcpy(e->peer_addr, ends.peer, 16);
	}
	e->peer_port = ends.peer_port;
	event_end(e);
}

/* tcp_conn_request begins. */
static __always_inline void handle_syn(struct sock *sk, struct sk_buff *skb)
{
	if (queue_full(sk))
		refused_syn(sk, skb);
}

/* A request of SYN cookies names no listener (cookie_tcp_reqsk_alloc,
 * net/ipv4/syncookies.c), and its client is never sent an RST. */
static __noinline void refused_last_ack(struct sock *sk, struct request_sock *req)
{
	struct net *net = READ(sk, __sk_common.skc_net.net);
	struct sock *end = (struct sock *)req;
	struct listener *l;
	struct event *e;

	if (!wanted_request(sk, req))
		return;
	l = open_listener_of(sk);
	__sync_fetch_and_add(&l->overflow_ack, 1);
	e = overflow_begin(l, sk);
	if (!e)
		return;
	e->flags = EVENT_FLAG_LAST_ACK;
	if (READ(req, __req_common.skc_listener) && READ(net, ipv4.sysctl_tcp_abort_on_overflow))
		e->flags |= EVENT_FLAG_ABORTED;
	copy_local_addr(e->local_addr, end, e->family);
	copy_peer_addr(e->peer_addr, end, e->family);
	e->peer_port = bpf_ntohs(READ(end, __sk_common.skc_dport));
	event_end(e);
}

/* tcp_v4_syn_recv_sock or tcp_v6_syn_recv_sock begins. */
static __always_inline void handle_last_ack(struct sock *sk, struct request_sock *req)
{
	if (queue_full(sk))
		refused_last_ack(sk, req);
}

/* An IPv6 socket passes a connection by IPv4 on to tcp_v4_syn_recv_sock. */
static __always_inline void handle_last_ack_v6(struct sock *sk, struct sk_buff *skb,
					       struct request_sock *req)
{
	if (READ(skb, protocol) != bpf_htons(ETH_P_IP))
		handle_last_ack(sk, req);
}

#endif
