// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* How exporters measure the wait today, to compare the cost with: kprobes, a
 * start time per connection in a hash map, a histogram of powers of two by
 * port. A connection that leaves the queue in any way but accept stays in the
 * map. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct wait_bucket {
	__u64 octave; /* floor(log2) of the wait in us; 0: below 2 us */
	__u16 port;
	__u16 pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64); /* the queued socket */
	__type(value, __u64);
} queued_at SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct wait_bucket);
	__type(value, __u64);
} waits SEC(".maps");

SEC("kprobe/inet_csk_complete_hashdance")
int BPF_KPROBE(exporter_queued, struct sock *sk, struct sock *child)
{
	__u64 key = (__u64)child, now = bpf_ktime_get_ns();

	bpf_map_update_elem(&queued_at, &key, &now, BPF_ANY);
	return 0;
}

static __always_inline __u64 log2_of(__u64 v)
{
	__u64 shift, r;

	r = (v > 0xffffffff) << 5;
	v >>= r;
	shift = (v > 0xffff) << 4;
	v >>= shift;
	r |= shift;
	shift = (v > 0xff) << 3;
	v >>= shift;
	r |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	r |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	r |= shift;
	return r | (v >> 1);
}

SEC("kretprobe/inet_csk_accept")
int BPF_KRETPROBE(exporter_accepted, struct sock *child)
{
	__u64 key = (__u64)child, one = 1, *queued, *count;
	struct wait_bucket bucket = {};

	if (!child)
		return 0;
	queued = bpf_map_lookup_elem(&queued_at, &key);
	if (!queued)
		return 0;
	bucket.octave = log2_of((bpf_ktime_get_ns() - *queued) / 1000);
	bucket.port = BPF_CORE_READ(child, __sk_common.skc_num);
	count = bpf_map_lookup_elem(&waits, &bucket);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&waits, &bucket, &one, BPF_NOEXIST);
	bpf_map_delete_elem(&queued_at, &key);
	return 0;
}
