/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* What user space sets before load. Zero means off; the verifier knows these
 * values and removes what they switch off. */
#ifndef ACCEPTWATCH_CONFIG_H
#define ACCEPTWATCH_CONFIG_H

#include "vmlinux.h"

const volatile __u8 cfg_filter_on;    /* one of the following is on: up to cfg_held_on */
const volatile __u8 cfg_ports_on;     /* only the ports in cfg_ports */
const volatile __u64 cfg_ports[1024]; /* one bit a port */
const volatile __u8 cfg_family;	      /* AF_INET, AF_INET6: what carries the connection */
const volatile __u8 cfg_addr_on;      /* only local addresses in cfg_addr/cfg_mask */
const volatile __u32 cfg_addr[4];     /* network order; IPv4 as ::ffff:a.b.c.d */
const volatile __u32 cfg_mask[4];
const volatile __u32 cfg_netns;	 /* inode of the network namespace */
const volatile __u64 cfg_cgroup; /* id of a cgroup; those below it are in it */
const volatile __u8 cfg_held_on; /* only listeners in the map held */

/* bpf_probe_read_kernel is permitted (not under lockdown=confidentiality). */
const volatile __u8 cfg_probe_read;

const volatile __u64 cfg_ring_size;   /* bytes */
const volatile __u64 cfg_min_wait_us; /* accepted events only */
const volatile __u32 cfg_kinds;	      /* bit n: make events of kind n */

/* The tool's own connection that proves the hooks (127.97.119.1) passes every
 * filter; user space keeps it out of every view. */
#define CANARY_ADDR bpf_htonl(0x7f617701)

#endif
