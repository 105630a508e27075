/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The entry of a listener: made when it is first met, taken out when it closes.
 * Socket memory is reused within milliseconds, so an entry must not outlive
 * its listener. */
#ifndef ACCEPTWATCH_LISTENER_H
#define ACCEPTWATCH_LISTENER_H

#include "fill.bpf.h"
#include "histogram.bpf.h"

static __always_inline struct listener *entry_at(__u32 slot)
{
	return bpf_map_lookup_elem(&entries, &slot);
}

/* Sockets lie in slabs of one size, a whole number of sockets apart: the product
 * spreads them. The verifier lets nobody multiply a pointer, but half of one is a
 * number. */
static __always_inline __u32 place_of(struct sock *sk)
{
	__u64 low;

	asm("r1 = %1; w0 = w1; %0 = r0" : "=r"(low) : "r"(sk) : "r0", "r1");
	return (__u32)low * 0x9e3779b1 >> (32 - LATELY_BITS);
}

/* NULL: it has no entry. */
static __noinline struct listener *listener_by_hash(struct sock *sk, __u32 place)
{
	__u64 key = (__u64)sk;
	__u32 *slot = bpf_map_lookup_elem(&listeners, &key);

	if (!slot)
		return NULL;
	found_lately[place & (LATELY - 1)] = *slot;
	return entry_at(*slot);
}

/* An entry that nobody knows of: its stack has no room for a copy. */
static __always_inline void listener_fill(struct listener *fresh, struct sock *sk)
{
	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->socket = (__u64)sk;
	fresh->id = bpf_ktime_get_ns() << 10 | (bpf_get_smp_processor_id() & 1023);
	fresh->family = READ(sk, __sk_common.skc_family);
	fresh->port = port_of(sk);
	fresh->netns = netns_of(sk);
	fresh->ifindex = READ(sk, __sk_common.skc_bound_dev_if);
	fresh->inode = listener_inode(sk);
	if (fresh->family == AF_INET6)
		fresh->v6only = READ_BITS(sk, __sk_common.skc_ipv6only);
	fresh->depth = READ(sk, sk_ack_backlog);
	fresh->max_depth = fresh->depth;
	fresh->backlog = READ(sk, sk_max_ack_backlog);
	copy_local_addr(fresh->addr, sk, fresh->family);
}

static __noinline struct listener *listener_new(struct sock *sk)
{
	__u32 slot = 0, place = place_of(sk);
	struct listener *l;
	__u64 key = (__u64)sk;

	if (bpf_map_pop_elem(&free_entries, &slot)) {
		/* Another CPU may have taken the last one, for the same listener. */
		l = listener_by_hash(sk, place);
		if (l)
			return l;
		lost(LOSS_LISTENERS_FULL);
		return &others;
	}
	/* The entry is whole before anyone can find it, nor is it found by what its
	 * slot once was. */
	if (found_lately[place & (LATELY - 1)] == slot)
		found_lately[place & (LATELY - 1)] = 0;
	l = entry_at(slot);
	if (!l)
		return &others;
	listener_fill(l, sk);
	if (bpf_map_update_elem(&listeners, &key, &slot, BPF_NOEXIST)) {
		/* Another CPU was first. */
		l->socket = 0;
		bpf_map_push_elem(&free_entries, &slot, BPF_ANY);
		l = listener_by_hash(sk, place);
		return l ? l : &others;
	}
	l->listed = 1;
	return l;
}

/* NULL: it was not found lately, or closes. */
static __always_inline struct listener *listener_lately(struct sock *sk)
{
	struct listener *l = entry_at(found_lately[place_of(sk)]);

	return l && l->socket == (__u64)sk ? l : NULL;
}

static __always_inline struct listener *known_listener(struct sock *sk)
{
	struct listener *l = listener_lately(sk);

	return l ? l : listener_by_hash(sk, place_of(sk));
}

static __always_inline struct listener *listener_of(struct sock *sk)
{
	struct listener *l = known_listener(sk);

	return l ? l : listener_new(sk);
}

static __noinline struct listener *listener_if_open(struct sock *sk)
{
	struct listener *l;

	if (READ(sk, __sk_common.skc_state) == TCP_LISTEN) {
		l = listener_by_hash(sk, place_of(sk));
		return l ? l : listener_new(sk);
	}
	lost(LOSS_LATE);
	return &others;
}

/* A listener may close while a program looks at it: what follows its close is
 * counted with the others. */
static __always_inline struct listener *open_listener_of(struct sock *sk)
{
	struct listener *l = listener_lately(sk);

	return l ? l : listener_if_open(sk);
}

/* The queue is full with one entry more than the backlog: the kernel tests with
 * > (sk_acceptq_is_full, include/net/sock.h). */
static __always_inline bool queue_full(struct sock *sk)
{
	return READ(sk, sk_ack_backlog) > READ(sk, sk_max_ack_backlog);
}

/* The time that is over; two CPUs that end it at once count it twice. It is read
 * once: one of them clears it. */
static __always_inline void not_full(struct listener *l, __u64 now)
{
	__u64 since = l->full_since;

	barrier_var(since);
	if (!since)
		return;
	l->full_since = 0;
	l->full += now - since;
}

/* An entry was added, or a walk looks. listen() may have changed the backlog. */
static __always_inline void depth_grown(struct listener *l, struct sock *sk, __u32 depth)
{
	__u32 backlog = READ(sk, sk_max_ack_backlog);

	l->depth = depth;
	l->backlog = backlog;
	if (depth > l->max_depth)
		l->max_depth = depth;
	if (depth > backlog && !l->full_since)
		l->full_since = bpf_ktime_get_ns();
}

/* An entry was taken out. */
static __always_inline void depth_shrunk(struct listener *l, struct sock *sk, __u32 depth,
					 __u64 now)
{
	l->depth = depth;
	if (l->full_since && depth <= READ(sk, sk_max_ack_backlog))
		not_full(l, now);
}

/* inet_csk_listen_stop has emptied the queue. User space takes the last counts
 * from closed, and gives the histogram back. */
static __always_inline void listener_closed(struct sock *sk)
{
	struct listener *l;
	struct event *e;
	__u64 key = (__u64)sk, id;
	__u32 *found, slot;

	found = bpf_map_lookup_elem(&listeners, &key);
	if (!found)
		return;
	slot = *found;
	/* Whoever takes it out has the slot. */
	if (bpf_map_delete_elem(&listeners, &key))
		return;
	l = entry_at(slot);
	if (!l)
		return;
	id = l->id;
	l->socket = 0;
	l->depth = 0;
	not_full(l, bpf_ktime_get_ns());
	if (bpf_map_push_elem(&closed, l, BPF_ANY)) {
		lost(LOSS_CLOSED_FULL);
		drop_histogram(l);
		__sync_fetch_and_add(&others.enqueued_hashdance, l->enqueued_hashdance);
		__sync_fetch_and_add(&others.enqueued_queue_add, l->enqueued_queue_add);
		__sync_fetch_and_add(&others.accepted, l->accepted);
		__sync_fetch_and_add(&others.accepted_close_wait, l->accepted_close_wait);
		__sync_fetch_and_add(&others.accepted_reset, l->accepted_reset);
		__sync_fetch_and_add(&others.purged, l->purged);
		__sync_fetch_and_add(&others.purged_dead, l->purged_dead);
		__sync_fetch_and_add(&others.migrated_in, l->migrated_in);
		__sync_fetch_and_add(&others.migrated_out, l->migrated_out);
		__sync_fetch_and_add(&others.overflow_syn, l->overflow_syn);
		__sync_fetch_and_add(&others.overflow_ack, l->overflow_ack);
	}
	l->listed = 0;
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
	bpf_map_push_elem(&free_entries, &slot, BPF_ANY);
}

#endif
