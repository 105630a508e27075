/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Counts under a connection's own end, for what knows no listener. */
#ifndef ACCEPTWATCH_ADDRESS_H
#define ACCEPTWATCH_ADDRESS_H

#include "fill.bpf.h"

static __always_inline struct address_counts *address_of(struct sock *sk)
{
	struct address_counts *counts, none = {};
	struct address key = {};

	key.family = READ(sk, __sk_common.skc_family);
	key.port = port_of(sk);
	key.netns = netns_of(sk);
	key.ifindex = READ(sk, __sk_common.skc_bound_dev_if);
	copy_local_addr(key.addr, sk, key.family);
	counts = bpf_map_lookup_elem(&addresses, &key);
	if (counts)
		return counts;
	bpf_map_update_elem(&addresses, &key, &none, BPF_NOEXIST);
	counts = bpf_map_lookup_elem(&addresses, &key);
	if (counts)
		return counts;
	lost(LOSS_ADDRESSES_FULL);
	return &other_addresses;
}

static __always_inline void count_address_accept(struct sock *child, __u8 state)
{
	struct address_counts *counts = address_of(child);

	__sync_fetch_and_add(&counts->accepted, 1);
	if (state == TCP_CLOSE_WAIT || state == TCP_CLOSE)
		__sync_fetch_and_add(&counts->accepted_dead, 1);
}

#endif
