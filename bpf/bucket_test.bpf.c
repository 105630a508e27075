// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* Runs bucket_of on a value, so that a test can compare it with its Go twin. */
#include "vmlinux.h"

#include "histogram.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

__u64 given_us;
__u32 bucket;

struct __sk_buff;

SEC("socket")
int put_in_bucket(struct __sk_buff *skb)
{
	bucket = bucket_of(given_us);
	return 0;
}
