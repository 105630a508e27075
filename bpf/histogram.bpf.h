/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Waits, counted in log-linear buckets: below 32 us one a microsecond, then 32
 * an octave, up to 2^36 us (19 hours); what is longer goes to the last. */
#ifndef ACCEPTWATCH_HISTOGRAM_H
#define ACCEPTWATCH_HISTOGRAM_H

#include "maps.bpf.h"

#define SUB_BITS       5
#define LARGEST_OCTAVE 35

static __always_inline __u32 bucket_of(__u64 us)
{
	__u32 high, octave = SUB_BITS;
	__u64 rest;

	if (us < 1 << SUB_BITS)
		return us;
	if (us >> (LARGEST_OCTAVE + 1))
		return HISTOGRAM_BUCKETS - 1;
	/* floor(log2(us)) by halves; bits above 32 first. */
	rest = us >> SUB_BITS;
	if (rest >> 16) {
		rest >>= 16;
		octave += 16;
	}
	high = rest;
	if (high >> 8) {
		high >>= 8;
		octave += 8;
	}
	if (high >> 4) {
		high >>= 4;
		octave += 4;
	}
	if (high >> 2) {
		high >>= 2;
		octave += 2;
	}
	octave += high >> 1;
	return ((octave - SUB_BITS + 1) << SUB_BITS) +
	       ((us >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1));
}

/* The first accept of a listener gives it a slot of its own, or the shared one
 * when none is left; what has no entry of its own shares it always. */
static __noinline void take_histogram(struct listener *l)
{
	__u32 slot = 0, *taken;
	__u64 id = l->id;

	if (!id) {
		l->histogram = SHARED_HISTOGRAM;
		return;
	}
	if (bpf_map_pop_elem(&free_histograms, &slot)) {
		lost(LOSS_HISTOGRAMS_OUT);
		l->histogram = SHARED_HISTOGRAM;
		return;
	}
	if (bpf_map_update_elem(&histogram_of, &id, &slot, BPF_NOEXIST)) {
		bpf_map_push_elem(&free_histograms, &slot, BPF_ANY);
		taken = bpf_map_lookup_elem(&histogram_of, &id);
		slot = taken ? *taken : SHARED_HISTOGRAM;
	}
	l->histogram = slot;
}

/* Gives a slot back whose waits nobody will read. The first slot is never
 * written: it clears. */
static __always_inline void drop_histogram(struct listener *l)
{
	__u32 slot = l->histogram, none = NO_HISTOGRAM;
	struct histogram *zero;

	if (slot < FIRST_HISTOGRAM)
		return;
	zero = bpf_map_lookup_elem(&histograms, &none);
	if (!zero)
		return;
	bpf_map_update_elem(&histograms, &slot, zero, BPF_ANY);
	bpf_map_push_elem(&free_histograms, &slot, BPF_ANY);
}

static __always_inline void count_wait(struct listener *l, __u64 wait_us)
{
	struct histogram *h;
	__u32 slot, bucket;

	if (!l->histogram)
		take_histogram(l);
	slot = l->histogram;
	h = bpf_map_lookup_elem(&histograms, &slot);
	if (!h)
		return;
	bucket = bucket_of(wait_us) & (HISTOGRAM_BUCKETS - 1);
	__sync_fetch_and_add(&h->buckets[bucket], 1);
	if (wait_us > l->max_wait)
		l->max_wait = wait_us;
}

#endif
