/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Where kernels and program types differ, and nowhere else: each difference
 * has one accessor here. */
#ifndef ACCEPTWATCH_COMPAT_H
#define ACCEPTWATCH_COMPAT_H

#include "config.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* One source, two objects. Tracing programs (fentry, fexit, tp_btf, iter) read
 * typed pointers by plain loads: cheap, and permitted where
 * bpf_probe_read_kernel is refused (lockdown=confidentiality). Kprobes get
 * bare registers and must ask the helper. */
#ifdef ACCEPTWATCH_PROBING
#define READ(ptr, field)      BPF_CORE_READ(ptr, field)
#define READ_BITS(ptr, field) BPF_CORE_READ_BITFIELD_PROBED(ptr, field)
#else
#define READ(ptr, field)      ((ptr)->field)
#define READ_BITS(ptr, field) BPF_CORE_READ_BITFIELD(ptr, field)
#endif

/* Since 6.2 a typed program can say what a pointer points to, for nothing: reads of
 * it are checked like all others (kernel/bpf/helpers.c). Helpers do not take it. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

#define CAST(ptr, type) ((type *)bpf_rdonly_cast(ptr, bpf_core_type_id_kernel(type)))

/* NULL unless it is a TCP socket. */
static __always_inline struct tcp_sock *tcp_sk(void *sk)
{
#ifdef ACCEPTWATCH_PROBING
	__u16 family = READ((struct sock *)sk, __sk_common.skc_family);

	if (family != AF_INET && family != AF_INET6)
		return NULL;
	return READ((struct sock *)sk, sk_protocol) == IPPROTO_TCP ? sk : NULL;
#else
	struct sock *cast;
	__u8 state;

	if (!bpf_rdonly_cast)
		return bpf_skc_to_tcp_sock(sk);
	cast = CAST(sk, struct sock);
	state = cast->__sk_common.skc_state;
	/* These are less than a socket. Like bpf_skc_to_tcp_sock (net/core/filter.c)
	 * this leaves out the family. */
	if (state == TCP_NEW_SYN_RECV || state == TCP_TIME_WAIT)
		return NULL;
	return cast->sk_protocol == IPPROTO_TCP ? CAST(sk, struct tcp_sock) : NULL;
#endif
}

/* sk_ino keeps the inode number in the socket from 6.18 on (net/core/sock.c);
 * before, it is reached through the file, which the socket of a kernel
 * listener lacks. */
struct sock___v6_18 {
	unsigned long sk_ino;
} __attribute__((preserve_access_index));

static __always_inline __u32 listener_inode(struct sock *sk)
{
	struct sock___v6_18 *newer = (void *)sk;
	struct socket *socket;
	struct file *file;
	struct inode *inode;

	if (bpf_core_field_exists(newer->sk_ino))
		return READ(newer, sk_ino);
	socket = READ(sk, sk_socket);
	if (!socket)
		return 0;
	file = READ(socket, file);
	if (!file)
		return 0;
	inode = READ(file, f_inode);
	return inode ? READ(inode, i_ino) : 0;
}

/* A cgroup names those above it by id before 6.1, by pointer since
 * (include/linux/cgroup-defs.h). The socket of 5.10 keeps a tagged word, that
 * of 6.1 a plain pointer to its cgroup: struct sock_cgroup_data, same file. */
struct cgroup___v6_1 {
	struct cgroup *ancestors[0];
} __attribute__((preserve_access_index));

struct cgroup___pre_v6_1 {
	__u64 ancestor_ids[0];
} __attribute__((preserve_access_index));

struct sock_cgroup_data___v5_10 {
	__u64 val;
} __attribute__((preserve_access_index));

#define CGROUP_LEVELS 32

static __always_inline __u64 ancestor_id(struct cgroup *cgroup, int level)
{
	struct cgroup *above = NULL;
	__u64 id = 0;

	if (bpf_core_field_exists(((struct cgroup___v6_1 *)0)->ancestors)) {
		bpf_probe_read_kernel(&above, sizeof(above),
				      &((struct cgroup___v6_1 *)cgroup)->ancestors[level]);
		return above ? BPF_CORE_READ(above, kn, id) : 0;
	}
	bpf_probe_read_kernel(&id, sizeof(id),
			      &((struct cgroup___pre_v6_1 *)cgroup)->ancestor_ids[level]);
	return id;
}

/* Is the socket in this cgroup, or in one below it? */
static __always_inline bool in_cgroup(struct sock *sk, __u64 id)
{
	struct sock_cgroup_data___v5_10 *tagged = (void *)&sk->sk_cgrp_data;
	struct cgroup *cgroup = NULL;
	int level;

	if (bpf_core_field_exists(tagged->val)) {
		bpf_probe_read_kernel(&cgroup, sizeof(cgroup), &tagged->val);
		if ((__u64)cgroup & 1)
			return false;
	} else {
		bpf_probe_read_kernel(&cgroup, sizeof(cgroup), &sk->sk_cgrp_data.cgroup);
	}
	if (!cgroup)
		return false;
	level = BPF_CORE_READ(cgroup, level);
	for (int i = 0; i < CGROUP_LEVELS && i <= level; i++)
		if (ancestor_id(cgroup, i) == id)
			return true;
	return false;
}

/* An MPTCP subflow, or the TCP socket of an MPTCP listener; the member is there
 * with CONFIG_MPTCP only. */
static __always_inline bool is_mptcp(struct tcp_sock *tp)
{
	return bpf_core_field_exists(tp->is_mptcp) && READ(tp, is_mptcp);
}

/* The MPTCP socket of a subflow, to be read by BPF_CORE_READ in both objects: no
 * typed pointer leads to it. NULL if there is none, or no permission. */
static __always_inline struct mptcp_sock *mptcp_sk(struct sock *subflow)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)subflow;
	struct mptcp_subflow_context *context;

	if (!cfg_probe_read || !bpf_core_field_exists(struct mptcp_subflow_context, conn))
		return NULL;
	context = BPF_CORE_READ(icsk, icsk_ulp_data);
	return context ? (struct mptcp_sock *)BPF_CORE_READ(context, conn) : NULL;
}

/* What the queue of an MPTCP listener holds of a connection, and the TCP socket
 * of the listener itself. Typed programs get there since 6.2. */
static __always_inline struct sock *first_subflow(struct sock *sk)
{
	struct mptcp_sock *msk = (struct mptcp_sock *)sk;

	if (!bpf_core_field_exists(msk->first))
		return NULL;
#ifdef ACCEPTWATCH_PROBING
	return READ(msk, first);
#else
	return CAST(sk, struct mptcp_sock)->first;
#endif
}

#ifndef ACCEPTWATCH_PROBING
/* Does this subflow join a connection that is there, instead of being queued?
 * (subflow_syn_recv_sock, net/mptcp/subflow.c) */
static __always_inline bool joins(struct tcp_sock *subflow)
{
	struct mptcp_subflow_context *context;

	if (!bpf_core_field_exists(struct mptcp_subflow_context, mp_join))
		return false;
	context = CAST(READ(subflow, inet_conn.icsk_ulp_data), struct mptcp_subflow_context);
	return READ_BITS(context, mp_join);
}
#endif

/* The state that accept() finds: of an MPTCP connection, what its peer did is
 * in the MPTCP socket, and the subflow stays ESTABLISHED
 * (mptcp_check_data_fin, net/mptcp/protocol.c). */
static __always_inline __u8 state_of(struct sock *sk, struct tcp_sock *tp)
{
	__u8 state = READ(sk, __sk_common.skc_state);
	struct mptcp_sock *msk;

	if (!is_mptcp(tp) || state == TCP_CLOSE || state == TCP_LISTEN)
		return state;
	msk = mptcp_sk(sk);
	return msk ? BPF_CORE_READ(msk, sk.icsk_inet.sk.__sk_common.skc_state) : state;
}

#endif
