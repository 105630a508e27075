// Package sockdiag takes snapshots of TCP sockets without eBPF, over
// NETLINK_SOCK_DIAG (net/ipv4/inet_diag.c, net/ipv4/tcp_diag.c). It needs no
// privilege.
//
// A snapshot is not atomic: the kernel walks its hash tables bucket by bucket,
// so a socket that moves meanwhile may be missing or appear twice. A socket in
// state CLOSE is in no table and never appears: a connection that was reset
// while it waited in the accept queue counts in the listener's depth, but has no
// row of its own.
//
// Taking a snapshot makes the kernel give a cookie to each socket that it
// reports (sock_diag_save_cookie, net/core/sock_diag.c).
package sockdiag

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// State is a TCP state with the kernel's number (include/net/tcp_states.h).
type State uint8

const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing

	// NewSynRecv is a handshake that is not finished: a request_sock, not yet
	// a socket. The kernel reports it as SYN_RECV (inet_req_diag_fill,
	// net/ipv4/inet_diag.c); this package tells the two apart.
	NewSynRecv
)

// String gives the name as in kernel and RFC, "CLOSE_WAIT".
func (s State) String() string {
	names := [...]string{
		Established: "ESTABLISHED", SynSent: "SYN_SENT", SynRecv: "SYN_RECV",
		FinWait1: "FIN_WAIT1", FinWait2: "FIN_WAIT2", TimeWait: "TIME_WAIT",
		Close: "CLOSE", CloseWait: "CLOSE_WAIT", LastAck: "LAST_ACK",
		Listen: "LISTEN", Closing: "CLOSING", NewSynRecv: "NEW_SYN_RECV",
	}
	if s == 0 || int(s) >= len(names) {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return names[s]
}

// V6Only is the IPV6_V6ONLY option of a listener.
type V6Only uint8

const (
	// V6OnlyUnknown: not a listener, not IPv6, or not reported.
	V6OnlyUnknown V6Only = iota
	// V6OnlyNo: a dual-stack listener, if its address is the wildcard.
	V6OnlyNo
	// V6OnlyYes: IPv4 connections do not reach it.
	V6OnlyYes
)

// Socket is one row of a snapshot.
type Socket struct {
	Family uint8 // unix.AF_INET or unix.AF_INET6
	State  State

	// Local and Remote are as the socket's family has them: an IPv4 connection
	// of an AF_INET6 socket has ::ffff:a.b.c.d on both sides. See LocalUnmapped.
	Local, Remote netip.AddrPort

	// Ifindex is the device that the socket is bound to, 0 for none. For a
	// link-local address it is the scope.
	Ifindex uint32

	// Cookie identifies the socket among all since boot, in all network
	// namespaces (sock_gen_cookie). 0 if there is none.
	Cookie uint64

	// Inode is that of the socket's file, 0 without one: see Unaccepted.
	Inode uint32

	// UID owns the file. Of a socket without one it is 0 up to 6.12 and the
	// listener's from 6.18.
	UID uint32

	// RQueue and WQueue are, for a listener, the depth of the accept queue and
	// its limit in connections; it is full when the depth exceeds the limit.
	// For others they are bytes received and not read, and bytes written and
	// not acknowledged. A FIN counts as one byte that was not read.
	RQueue, WQueue uint32

	// LastDataSent is the time since the socket last sent data, in ms and to the
	// kernel's tick (1 to 10 ms): tcpi_last_data_sent of ExtInfo. The clock starts when the
	// connection becomes ESTABLISHED, and a connection that was never accepted
	// sends no data, so for one it is its age in the accept queue. Valid if
	// HasInfo.
	LastDataSent time.Duration
	// LastHeard is the time since the last segment with an ACK came from the
	// peer, to the kernel's tick: tcpi_last_ack_recv of ExtInfo. Of a connection
	// in CLOSE_WAIT it is most often the FIN. Valid if HasInfo.
	LastHeard time.Duration
	HasInfo   bool

	// Drops is, for a listener, how many SYNs and final ACKs were dropped since
	// it was made: sk_drops, of ExtSKMemInfo. A client's retransmissions count
	// again. Valid if HasDrops.
	Drops    uint32
	HasDrops bool

	// CgroupID is the id of the cgroup (v2) that the socket was made in; 0 if
	// not reported (older kernels, or without CONFIG_SOCK_CGROUP_DATA).
	CgroupID uint64

	V6Only V6Only

	// MPTCP says that this is a subflow of an MPTCP socket, or the listener of
	// one. It is known with ExtInfo only, and older kernels tell it to
	// CAP_NET_ADMIN only (tcp_diag_get_aux, net/ipv4/tcp_diag.c): false can mean
	// unknown.
	MPTCP bool
}

// Unaccepted reports whether this is a connection that waits in an accept
// queue, or is about to leave it: no file (inode 0) and ESTABLISHED or
// CLOSE_WAIT, the two states that close() leaves before it takes the file away
// (__tcp_close, net/ipv4/tcp.c).
//
// Inode 0 alone does not say so. It also belongs to
//
//   - connections whose process closed them: FIN_WAIT1, FIN_WAIT2, LAST_ACK,
//     CLOSING, TIME_WAIT;
//   - handshakes that are not finished: NEW_SYN_RECV;
//   - subflows of MPTCP connections, accepted or not; they are excluded where
//     the kernel tells: ask for ExtInfo, and see MPTCP.
//
// It misses three kinds of waiting connections: those reset by the client
// (CLOSE, not in any table), Fast Open ones whose handshake is not finished
// (SYN_RECV, and FIN_WAIT1 after), and those of MPTCP clients.
//
// An MPTCP listener's connections from plain TCP clients are plain TCP sockets,
// for which the rule holds.
func (s *Socket) Unaccepted() bool {
	return s.Inode == 0 && !s.MPTCP && (s.State == Established || s.State == CloseWait)
}

// HeldCloseWait reports whether the peer closed the connection and a process
// still has it open: accepted (or made by connect), CLOSE_WAIT, with a file.
func (s *Socket) HeldCloseWait() bool {
	return s.Inode != 0 && s.State == CloseWait
}

// Depth returns how many connections wait in the accept queue. False: this is
// not a listener.
func (s *Socket) Depth() (uint32, bool) {
	return s.RQueue, s.State == Listen
}

// Backlog returns the limit of the accept queue, min(backlog, somaxconn); it
// holds one more. False: this is not a listener.
func (s *Socket) Backlog() (uint32, bool) {
	return s.WQueue, s.State == Listen
}

// UnreadBytes returns how many bytes wait to be read, without the FIN that the
// kernel counts as one. False: this is a listener.
func (s *Socket) UnreadBytes() (uint32, bool) {
	switch s.State {
	case Listen:
		return 0, false
	case CloseWait, LastAck, Closing, TimeWait, Close:
		// rcv_nxt - copied_seq (tcp_diag_get_info, net/ipv4/tcp_diag.c): the
		// FIN took a sequence number. After read has returned 0 it is no
		// longer counted.
		if s.RQueue > 0 {
			return s.RQueue - 1, true
		}
	}
	return s.RQueue, true
}

// IPv4 reports whether the connection is IPv4 on the wire, whatever the family
// of the socket.
func (s *Socket) IPv4() bool {
	addr := s.Local.Addr()
	return s.Family == unix.AF_INET || addr.Is4In6()
}

// LocalUnmapped returns Local with a v4-mapped address as IPv4.
func (s *Socket) LocalUnmapped() netip.AddrPort {
	return netip.AddrPortFrom(s.Local.Addr().Unmap(), s.Local.Port())
}

// RemoteUnmapped returns Remote with a v4-mapped address as IPv4.
func (s *Socket) RemoteUnmapped() netip.AddrPort {
	return netip.AddrPortFrom(s.Remote.Addr().Unmap(), s.Remote.Port())
}
