/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The entry of a listener: made when it is first met, taken out when it closes.
 * Socket memory is reused within milliseconds, so an entry must not outlive
 * its listener. */
#ifndef ACCEPTWATCH_LISTENER_H
#define ACCEPTWATCH_LISTENER_H

#include "fill.bpf.h"
#include "histogram.bpf.h"

static __noinline struct listener *listener_new(struct sock *sk)
{
	struct listener fresh = {}, *l;
	__u64 key = (__u64)sk;

	fresh.id = bpf_ktime_get_ns() << 10 | (bpf_get_smp_processor_id() & 1023);
	fresh.family = READ(sk, __sk_common.skc_family);
	fresh.port = port_of(sk);
	fresh.netns = netns_of(sk);
	fresh.ifindex = READ(sk, __sk_common.skc_bound_dev_if);
	fresh.inode = listener_inode(sk);
	if (fresh.family == AF_INET6)
		fresh.v6only = READ_BITS(sk, __sk_common.skc_ipv6only);
	fresh.depth = READ(sk, sk_ack_backlog);
	fresh.backlog = READ(sk, sk_max_ack_backlog);
	copy_local_addr(fresh.addr, sk, fresh.family);
	bpf_map_update_elem(&listeners, &key, &fresh, BPF_NOEXIST);
	l = bpf_map_lookup_elem(&listeners, &key);
	if (l)
		return l;
	lost(LOSS_LISTENERS_FULL);
	return &others;
}

static __always_inline struct listener *listener_of(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct listener *l = bpf_map_lookup_elem(&listeners, &key);

	return l ? l : listener_new(sk);
}

/* inet_csk_listen_stop has emptied the queue. User space takes the last counts
 * from closed, and gives the histogram back. */
static __always_inline void listener_closed(struct sock *sk)
{
	struct listener *l;
	struct event *e;
	__u64 key = (__u64)sk, id;

	l = bpf_map_lookup_elem(&listeners, &key);
	if (!l)
		return;
	id = l->id;
	l->depth = 0;
	if (bpf_map_push_elem(&closed, l, BPF_ANY)) {
		lost(LOSS_CLOSED_FULL);
		__sync_fetch_and_add(&others.enqueued_hashdance, l->enqueued_hashdance);
		__sync_fetch_and_add(&others.enqueued_queue_add, l->enqueued_queue_add);
		__sync_fetch_and_add(&others.accepted, l->accepted);
		__sync_fetch_and_add(&others.accepted_close_wait, l->accepted_close_wait);
		__sync_fetch_and_add(&others.accepted_reset, l->accepted_reset);
		__sync_fetch_and_add(&others.purged, l->purged);
		__sync_fetch_and_add(&others.purged_dead, l->purged_dead);
	}
	if (makes(EVENT_LISTENER_CLOSED)) {
		e = event_begin();
		if (e) {
			__builtin_memset(e, 0, sizeof(*e));
			e->time = bpf_ktime_get_ns();
			e->listener = id;
			__builtin_memcpy(e->local_addr, l->addr, sizeof(e->local_addr));
			e->local_port = l->port;
			e->netns = l->netns;
			e->ifindex = l->ifindex;
			e->backlog = l->backlog;
			e->inode = l->inode;
			e->kind = EVENT_LISTENER_CLOSED;
			e->family = l->family;
			e->state = TCP_CLOSE;
			event_end(e);
		}
	}
	bpf_map_delete_elem(&histogram_of, &id);
	bpf_map_delete_elem(&listeners, &key);
}

#endif
