/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* What is kept in the kernel. Sizes of listeners, histograms and events are
 * set by user space before load. */
#ifndef ACCEPTWATCH_MAPS_H
#define ACCEPTWATCH_MAPS_H

#include "events.h"
#include "compat.bpf.h"

/* Counts of what the kernel ties to one listener, since attach. */
struct listener {
	__u64 socket;		  /* struct sock *; 0: the entry is free, or its listener closes */
	__u64 id;		  /* when it was first seen, and by which CPU */
	__u64 enqueued_hashdance; /* carriers of the enqueue path, counted apart: */
	__u64 enqueued_queue_add; /* user space knows which of them are live */
	__u64 accepted;
	__u64 accepted_close_wait; /* of accepted: in CLOSE_WAIT */
	__u64 accepted_reset;	   /* of accepted: in CLOSE */
	__u64 purged;
	__u64 purged_dead;    /* of purged: in CLOSE_WAIT or CLOSE */
	__u64 migrated_in;    /* from a listener of the group that closed */
	__u64 migrated_out;   /* to another one, when this one closed */
	__u64 overflow_syn;   /* drops because the queue was full: of a SYN, */
	__u64 overflow_ack;   /* and of the last ACK of a handshake */
	__u64 last_accept;    /* ns */
	__u64 nonempty_since; /* ns: depth last went from 0 to 1 */
	__u64 full_since;     /* ns: more entries than the backlog; 0: not now */
	__u64 full;	      /* ns: the same, up to full_since */
	__u64 walked;	      /* ns: last met by a walk */
	__u64 max_wait;	      /* us */
	__u32 max_depth;
	__u32 histogram; /* its slot in histograms; 0: none yet */
	__u32 depth;
	__u32 backlog;
	__u32 inode;
	__u32 netns;
	__u32 ifindex;
	__u32 listed; /* it is whole, and the listener's only one */
	__u32 reserved;
	__u8 addr[16]; /* bound to; network order, IPv4 in the first four bytes */
	__u16 port;
	__u8 family;
	__u8 v6only;
};

/* A queued connection has no pointer to its listener: what happens to it is
 * counted under its own end's address. */
struct address {
	__u8 addr[16];
	__u32 netns;
	__u32 ifindex;
	__u16 port;
	__u8 family;
	__u8 reserved[5];
};

struct address_counts {
	__u64 close_wait;
	__u64 reset;
	__u64 reset_after_fin; /* of reset: had been in CLOSE_WAIT */
	__u64 accepted;	       /* EVENT_FLAG_EXIT_UNSEEN, listener not known */
	__u64 accepted_dead;
	__u64 enqueued; /* restricted mode only */
};

#define HISTOGRAM_BUCKETS 1024

/* Slots of histograms. */
enum histogram_slot {
	NO_HISTOGRAM = 0,     /* not accepted from yet */
	SHARED_HISTOGRAM = 1, /* of all listeners that found none free */
	FIRST_HISTOGRAM = 2,  /* this and the following are given out */
};

struct histogram {
	__u32 buckets[HISTOGRAM_BUCKETS]; /* wrap; user space adds differences */
};

enum loss {
	LOSS_RING_FULL,	     /* events */
	LOSS_LISTENERS_FULL, /* events on listeners that have no entry */
	LOSS_ADDRESSES_FULL, /* deaths without an entry */
	LOSS_CLOSED_FULL,    /* closed listeners whose counts went to others */
	LOSS_HISTOGRAMS_OUT, /* listeners that share a histogram */
	LOSS_LATE,	     /* accepts that returned after their listener had closed */
	LOSS_ACCEPTING_FULL, /* accepts, by threads that found no entry */
	LOSS_WALK_ENTRIES,   /* entries of queues that a walk had no room for */
	LOSS_ERRORS_FULL,    /* failed accepts beyond the number kept */
	LOSS_CALLS_FULL, /* accepts by threads beyond the number kept, whose failure is not seen */
	LOSS_KINDS,
};

__u64 losses[LOSS_KINDS];

/* What has no entry of its own: counted here, with id 0. */
struct listener others;
struct address_counts other_addresses;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* Entries of listeners, by slot. The first is never given out. User space goes
 * through this memory itself. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct listener);
} entries SEC(".maps");

/* Slots of entries that are free; filled by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__uint(value_size, sizeof(__u32));
} free_entries SEC(".maps");

/* Which listener has which slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* struct sock * */
	__type(value, __u32);
} listeners SEC(".maps");

/* The slot that was last found for sockets at such an address. To look here and into
 * the entry takes a fraction of a look-up in the hash map. */
#define LATELY_BITS 12
#define LATELY	    (1 << LATELY_BITS)

__u32 found_lately[LATELY];

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8192);
	__uint(value_size, sizeof(struct listener));
} closed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct histogram);
} histograms SEC(".maps");

/* Slots of histograms that are free; filled by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__uint(value_size, sizeof(__u32));
} free_histograms SEC(".maps");

/* Which listener (id) has which slot: decides between CPUs that both took one
 * for the same listener, as 5.10 has no compare-and-swap. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} histogram_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct address);
	__type(value, struct address_counts);
} addresses SEC(".maps");

/* Threads inside accept() whose return no exit probe will see: thread id to
 * listener (struct sock *, 0: not known). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} accepting SEC(".maps");

/* Inodes of the listening sockets held by the processes that were asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u8);
} held SEC(".maps");

/* And their ports, for connections, which do not know their listener: network
 * namespace and port. */
struct held_port {
	__u32 netns;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct held_port);
	__type(value, __u8);
} held_ports SEC(".maps");

static __always_inline void lost(enum loss what)
{
	__sync_fetch_and_add(&losses[what], 1);
}

#endif
