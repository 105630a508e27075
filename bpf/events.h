/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The wire: what the kernel programs hand to user space. Little-endian, fixed
 * width, no implicit padding. internal/event decodes it; a test compares the
 * two layouts field by field. */
#ifndef ACCEPTWATCH_EVENTS_H
#define ACCEPTWATCH_EVENTS_H

enum event_kind {
	EVENT_ACCEPTED = 1,	   /* accept() took it out of the queue */
	EVENT_CLOSE_WAIT = 2,	   /* the peer's FIN came before accept() */
	EVENT_RESET = 3,	   /* it reached CLOSE before accept(); errno tells why */
	EVENT_PURGED = 4,	   /* its listener was closed or shut down */
	EVENT_LISTENER = 5,	   /* walk: a listener; its QUEUED entries follow */
	EVENT_QUEUED = 6,	   /* walk: one entry of a queue, oldest first */
	EVENT_LISTENER_CLOSED = 7, /* the listener left LISTEN */
	EVENT_OVERFLOW = 8,	   /* a connection was refused: the queue was full */
	EVENT_ACCEPT_ERROR = 9,	   /* accept() failed; errno tells why */
};

enum event_flag {
	/* ACCEPTED: seen at security_sock_graft alone, because the program that
	 * sees the listener was skipped or, where that is on the exit of
	 * inet_csk_accept, entered before attach. The depth is not known, and
	 * the listener (if 0) by its address only. */
	EVENT_FLAG_EXIT_UNSEEN = 1 << 0,
	/* LISTENER: the walk stopped before the end of this queue. */
	EVENT_FLAG_WALK_CUT = 1 << 1,
	/* RESET: the peer's FIN had come first. */
	EVENT_FLAG_AFTER_FIN = 1 << 2,
	/* LISTENER: an IPv6 socket that takes no IPv4 connections. */
	EVENT_FLAG_V6ONLY = 1 << 3,
	/* OVERFLOW: refused at the last ACK of the handshake, so the client
	 * believes that it is connected. Without: at the SYN. */
	EVENT_FLAG_LAST_ACK = 1 << 4,
	/* OVERFLOW: the client is sent an RST (tcp_abort_on_overflow). */
	EVENT_FLAG_ABORTED = 1 << 5,
	/* LISTENER: takes MPTCP connections. */
	EVENT_FLAG_MPTCP = 1 << 6,
};

struct event {
	__u64 time;	     /* ns, CLOCK_MONOTONIC */
	__u64 queued;	     /* us, same clock: entered the queue; 0: not known */
	__u64 listener;	     /* id of the listener; 0: not known */
	__u64 cookie;	     /* socket cookie; 0: the kernel never made one */
	__u8 local_addr[16]; /* network order; IPv4 in the first four bytes */
	__u8 peer_addr[16];
	__u16 local_port;     /* host order */
	__u16 peer_port;      /* host order; 0: none, or not known */
	__u32 netns;	      /* inode of the network namespace */
	__u32 ifindex;	      /* device bound to; 0: none */
	__u32 depth;	      /* of the queue, after the event */
	__u32 depth_at_entry; /* of the queue, when this one entered it;
			       * ACCEPT_ERROR: the descriptor given to accept() */
	__u32 backlog;	      /* limit of the queue */
	__u32 unread;	      /* bytes received and not read;
			       * ACCEPT_ERROR: failures like it so far */
	__u32 pid;	      /* of the acceptor: process, */
	__u32 tid;	      /* thread, */
	__u32 inode;	      /* LISTENER, ACCEPT_ERROR: inode of the listening socket */
	__u16 error;	      /* errno; 0: none */
	__u8 kind;	      /* enum event_kind */
	__u8 family;	      /* AF_INET 2, AF_INET6 10: of the socket;
			       * ACCEPT_ERROR: 0 when the listener could not be read */
	__u8 state;	      /* TCP state, after the event */
	__u8 flags;	      /* enum event_flag */
	__u16 reserved;	      /* 0 */
	char comm[16];	      /* and name; NUL-padded */
};

#endif
