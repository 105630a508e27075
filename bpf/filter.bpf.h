/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Which connections the user asked for. Applied where events are made, so what
 * is filtered out costs little and is counted nowhere. */
#ifndef ACCEPTWATCH_FILTER_H
#define ACCEPTWATCH_FILTER_H

#include "config.bpf.h"
#include "maps.bpf.h"

#include <bpf/bpf_endian.h>

/* inet_num is 0 once the port was put back, as tcp_set_state(CLOSE) does for
 * connections and for listeners that did not bind to a port
 * (inet_put_port, net/ipv4/inet_hashtables.c); inet_sport stays. */
static __always_inline __u16 port_of(struct sock *sk)
{
	__u16 port = READ(sk, __sk_common.skc_num);
	struct tcp_sock *tp;

	if (port)
		return port;
	tp = tcp_sk(sk);
	return tp ? bpf_ntohs(READ(tp, inet_conn.icsk_inet.inet_sport)) : 0;
}

static __always_inline bool v4mapped(struct sock *sk)
{
	return READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2]) == bpf_htonl(0xffff) &&
	       !READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0]) &&
	       !READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1]);
}

static __always_inline __u32 netns_of(struct sock *sk)
{
	struct net *net = READ(sk, __sk_common.skc_net.net);

	return READ(net, ns.inum);
}

/* Does an address pass, in four words, IPv4 mapped into IPv6? */
static __always_inline bool wanted_words(__u32 word[4])
{
	return (word[0] & cfg_mask[0]) == cfg_addr[0] && (word[1] & cfg_mask[1]) == cfg_addr[1] &&
	       (word[2] & cfg_mask[2]) == cfg_addr[2] && (word[3] & cfg_mask[3]) == cfg_addr[3];
}

/* Does the socket's own address pass? A listener bound to all addresses does:
 * the connections that come to it are looked at one by one. */
static __always_inline bool wanted_addr(struct sock *sk, __u16 family, bool listener)
{
	__u32 word[4] = {0, 0, bpf_htonl(0xffff), 0};

	if (family == AF_INET) {
		word[3] = READ(sk, __sk_common.skc_rcv_saddr);
		if (listener && !word[3])
			return true;
	} else {
		word[0] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0]);
		word[1] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1]);
		word[2] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2]);
		word[3] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3]);
		if (listener && !(word[0] | word[1] | word[2] | word[3]))
			return true;
	}
	return wanted_words(word);
}

static __always_inline bool wanted_family(struct sock *sk, __u16 family, bool listener)
{
	if (family == AF_INET6 && cfg_family == AF_INET)
		return listener ? !READ_BITS(sk, __sk_common.skc_ipv6only) : v4mapped(sk);
	if (family == AF_INET6)
		return listener || !v4mapped(sk);
	return cfg_family == AF_INET;
}

/* All but the cgroup, which only a full socket has. */
static __always_inline bool wanted_ends(struct sock *sk, bool listener)
{
	__u16 family;
	__u64 port;

	if (cfg_ports_on) {
		port = port_of(sk);
		/* Verifiers up to 6.12 lose the bounds of a swapped port, and the
		 * compiler drops a mask that it finds needless. */
		barrier_var(port);
		if (!(cfg_ports[port >> 6 & 1023] >> (port & 63) & 1))
			return false;
	}
	if (cfg_netns && netns_of(sk) != cfg_netns)
		return false;
	family = READ(sk, __sk_common.skc_family);
	if (cfg_family && !wanted_family(sk, family, listener))
		return false;
	return !cfg_addr_on || wanted_addr(sk, family, listener);
}

static __always_inline bool wanted_by_user(struct sock *sk, bool listener)
{
	return wanted_ends(sk, listener) && (!cfg_cgroup || in_cgroup(sk, cfg_cgroup));
}

static __always_inline bool is_canary(struct sock *sk)
{
	return READ(sk, __sk_common.skc_rcv_saddr) == CANARY_ADDR;
}

static __always_inline bool held_port(struct sock *sk)
{
	struct held_port key = {};

	key.netns = netns_of(sk);
	key.port = port_of(sk);
	return bpf_map_lookup_elem(&held_ports, &key);
}

/* Who holds an MPTCP listener is known by its port up to 6.17: its TCP socket
 * has no file, and so no inode. */
static __always_inline bool held_listener(struct sock *sk)
{
	__u32 inode = listener_inode(sk);

	return inode ? !!bpf_map_lookup_elem(&held, &inode) : held_port(sk);
}

/* A listener, as a walk meets it. This and the following ask first whether there
 * is a filter at all: each constant costs a load, also if it is off. */
static __always_inline bool wanted_listener(struct sock *sk)
{
	if (!cfg_filter_on)
		return true;
	if (!wanted_by_user(sk, true))
		return is_canary(sk);
	return !cfg_held_on || held_listener(sk) || is_canary(sk);
}

/* A connection whose listener is at hand. */
static __always_inline bool wanted_of(struct sock *listener, struct sock *child)
{
	if (!cfg_filter_on)
		return true;
	if (!wanted_by_user(child, false))
		return is_canary(child);
	return !cfg_held_on || held_listener(listener) || is_canary(child);
}

/* A handshake; the common part of a request is that of a socket. */
static __always_inline bool wanted_request(struct sock *listener, struct request_sock *req)
{
	struct sock *sk = (struct sock *)req;

	if (!cfg_filter_on)
		return true;
	if (!wanted_ends(sk, false) || (cfg_cgroup && !in_cgroup(listener, cfg_cgroup)))
		return false;
	return !cfg_held_on || held_listener(listener);
}

/* A connection alone: who holds its listener is known by port. */
static __always_inline bool wanted_child(struct sock *child)
{
	if (!cfg_filter_on)
		return true;
	if (!wanted_by_user(child, false))
		return is_canary(child);
	return !cfg_held_on || held_port(child) || is_canary(child);
}

#endif
