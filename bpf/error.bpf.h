/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* accept() fails. With EMFILE or ENFILE it does so before inet_csk_accept is
 * called, so this looks at the returns of __sys_accept4, which both system
 * calls end in, and of io_accept. */
#ifndef ACCEPTWATCH_ERROR_H
#define ACCEPTWATCH_ERROR_H

#include "listener.bpf.h"

#define EINTR	     4
#define EAGAIN	     11
#define ECANCELED    125
#define MAX_ERRNO    133  /* what user space may see; restarts are beyond */
#define BY_IO_URING  (-1) /* for the descriptor, which it may not have */
#define S_IFMT	     0170000
#define S_IFSOCK     0140000
#define REPORT_EVERY 1000000000ULL /* ns: a server that cannot accept tries all the time */

struct accept_error_key {
	__u32 pid;
	__s32 fd;
	__u32 inode; /* of the listening socket; 0: not known */
	__u32 error;
};

struct accept_error {
	__u64 count;
	__u64 last;	 /* ns */
	__u64 report_at; /* ns: when the next event is due */
	__u64 listener;	 /* id; 0: not known */
	__u8 addr[16];
	__u32 netns;
	__u32 ifindex;
	__u16 port;
	__u8 family; /* 0: the listener could not be read */
	__u8 reserved[5];
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct accept_error_key);
	__type(value, struct accept_error);
} accept_errors SEC(".maps");

#ifdef ACCEPTWATCH_PROBING

/* The TCP socket behind a file; NULL if there is none. */
static __always_inline struct sock *socket_of(struct file *file)
{
	struct inode *inode = READ(file, f_inode);
	struct socket *socket;
	__u32 protocol;
	struct sock *sk;

	if ((READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = READ(file, private_data);
	sk = READ(socket, sk);
	if (!sk)
		return NULL;
	protocol = READ(sk, sk_protocol);
	if (protocol == IPPROTO_MPTCP)
		return first_subflow(sk);
	return tcp_sk(sk) ? sk : NULL;
}

static __always_inline struct file *file_of(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files = READ(task, files);
	struct fdtable *table = READ(files, fdt);
	struct file **open = READ(table, fd), *file = NULL;

	if (fd < READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), open + fd);
	return file;
}

#endif

static __always_inline struct accept_error *error_entry(struct accept_error_key *key,
							struct sock *sk)
{
	struct accept_error fresh = {}, *entry;

	entry = bpf_map_lookup_elem(&accept_errors, key);
	if (entry)
		return entry;
	bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
	if (sk) {
		fresh.netns = netns_of(sk);
		fresh.ifindex = READ(sk, __sk_common.skc_bound_dev_if);
		fresh.port = port_of(sk);
		fresh.family = READ(sk, __sk_common.skc_family);
		copy_local_addr(fresh.addr, sk, fresh.family);
		if (READ(sk, __sk_common.skc_state) == TCP_LISTEN)
			fresh.listener = listener_of(sk)->id;
	}
	bpf_map_update_elem(&accept_errors, key, &fresh, BPF_NOEXIST);
	entry = bpf_map_lookup_elem(&accept_errors, key);
	if (!entry)
		lost(LOSS_ERRORS_FULL);
	return entry;
}

/* sk is NULL when this program may not read it: user space then finds it by the
 * descriptor or the inode. */
static __always_inline void accept_failed(struct sock *sk, int fd, __u32 inode, int error)
{
	struct accept_error_key key = {};
	struct accept_error *f;
	struct event *e;
	__u64 now;

	key.pid = bpf_get_current_pid_tgid() >> 32;
	key.fd = fd;
	key.inode = inode;
	key.error = error;
	f = error_entry(&key, sk);
	if (!f)
		return;
	now = bpf_ktime_get_ns();
	__sync_fetch_and_add(&f->count, 1);
	f->last = now;
	if (now < f->report_at || !makes(EVENT_ACCEPT_ERROR))
		return;
	f->report_at = now + REPORT_EVERY;
	e = event_begin();
	if (!e)
		return;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = now;
	e->listener = f->listener;
	__builtin_memcpy(e->local_addr, f->addr, sizeof(e->local_addr));
	e->local_port = f->port;
	e->netns = f->netns;
	e->ifindex = f->ifindex;
	e->depth_at_entry = fd;
	e->unread = f->count;
	if (sk && f->listener) {
		e->depth = READ(sk, sk_ack_backlog);
		e->backlog = READ(sk, sk_max_ack_backlog);
	}
	e->inode = inode;
	e->error = error;
	e->kind = EVENT_ACCEPT_ERROR;
	e->family = f->family;
	event_acceptor(e);
	event_end(e);
}

/* The errno of a failed accept(), 0 if it did not fail. */
static __always_inline int failure(int returned)
{
	int error = -returned;

	if (returned >= 0 || error > MAX_ERRNO || error == EAGAIN || error == EINTR)
		return 0;
	return error;
}

static __always_inline void failed_on_file(struct file *file, int fd, int error)
{
	struct sock *sk = NULL;
	struct inode *inode;

	inode = READ(file, f_inode);
#ifdef ACCEPTWATCH_PROBING
	sk = socket_of(file);
	if (!sk || !wanted_listener(sk))
		return;
#endif
	accept_failed(sk, fd, READ(inode, i_ino), error);
}

/* A function of its own, so that calls that did not fail do not save the
 * registers that it uses. */
static __noinline void failed_by_descriptor(int fd, int error)
{
#ifdef ACCEPTWATCH_PROBING
	struct file *file = file_of(fd);

	if (file)
		failed_on_file(file, fd, error);
#else
	accept_failed(NULL, fd, 0, error);
#endif
}

/* __sys_accept4 returns. */
static __always_inline void handle_syscall(int fd, int returned)
{
	int error = failure(returned);

	if (error)
		failed_by_descriptor(fd, error);
}

/* io_accept returns. What it asks io_uring to do next is a negative number too;
 * what it completes the request with is then in its result. */
static __always_inline void handle_io_uring(struct io_kiocb *req, int returned)
{
	int error = failure(returned);
	struct file *file;

	if (!returned || returned == -ECANCELED)
		error = failure(READ(req, cqe.res));
	if (!error)
		return;
	file = READ(req, file);
	if (file)
		failed_on_file(file, BY_IO_URING, error);
}

#endif
