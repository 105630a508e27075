// Package event holds what happened to one connection in an accept queue, and
// decodes it from the form in which the kernel programs write it
// (bpf/events.h). It knows nothing of how the bytes got here, so recordings
// and live rings share it.
package event

import (
	"net/netip"
	"time"
)

// Kind says what happened.
type Kind uint8

// The kinds, with the numbers of enum event_kind in bpf/events.h. Stall and
// StallEnd are derived in user space and never on the wire.
const (
	Accepted       Kind = 1   // accept() took it out of the queue
	CloseWait      Kind = 2   // the peer's FIN came before accept()
	Reset          Kind = 3   // it reached CLOSE before accept(); Errno tells why
	Purged         Kind = 4   // its listener was closed or shut down
	Listener       Kind = 5   // walk: a listener; its Queued entries follow
	Queued         Kind = 6   // walk: one entry of a queue, oldest first
	ListenerClosed Kind = 7   // the listener left LISTEN
	Overflow       Kind = 8   // a connection was refused: the queue was full
	AcceptError    Kind = 9   // accept() failed; Errno tells why
	Stall          Kind = 128 // entries wait and nobody accepts
	StallEnd       Kind = 129 // somebody accepts again, or the queue is empty
)

// Flags refine a kind; the numbers are those of enum event_flag in
// bpf/events.h, but for Sampled and Recovered, which user space sets.
type Flags uint16

const (
	ExitUnseen Flags = 1 << 0 // Accepted: seen only when it got its descriptor; the depth is not known
	WalkCut    Flags = 1 << 1 // Listener: the walk stopped early
	AfterFIN   Flags = 1 << 2 // Reset: the peer's FIN had come first
	V6Only     Flags = 1 << 3 // Listener: takes no IPv4 connections
	LastACK    Flags = 1 << 4 // Overflow: refused at the last ACK, the client believes that it is connected; without: at the SYN, which is never answered
	Aborted    Flags = 1 << 5 // Overflow: the client is sent an RST
	MPTCP      Flags = 1 << 6 // Listener: takes MPTCP connections; Queued: may be one
	Sampled    Flags = 1 << 8 // Accepted: Time is when it was noticed; Stall: calls of accept() are not seen
	Recovered  Flags = 1 << 9 // seen late, by accept or by a walk
)

// Event is one thing that happened. It holds no pointers into the buffer it
// was decoded from.
type Event struct {
	Time         int64          // ns, CLOCK_MONOTONIC
	Queued       int64          // ns, same clock, µs precise: entered the queue; 0: not known
	ListenerID   uint64         // the kernel's listener; 0: not known
	Cookie       uint64         // socket cookie; 0: none was ever made
	Local        netip.AddrPort // the connection's own end; the bound address in Listener and AcceptError
	Peer         netip.AddrPort // invalid, or port 0: none, or not known
	NetNS        uint32         // inode of the network namespace
	Ifindex      uint32         // device bound to; 0: none
	Depth        uint32         // connections in the queue after the event
	DepthAtEntry uint32         // connections in the queue when this one entered it
	Backlog      uint32         // limit of the queue
	Unread       uint32         // bytes received and not read
	PID, TID     uint32         // acceptor, in AcceptError who called, in Stall who fails most often to accept; 0: none
	Inode        uint32         // Listener, AcceptError: inode of the listening socket
	FD           int32          // AcceptError: the descriptor given to accept(); -1: it was done by io_uring
	Repeats      uint32         // AcceptError: how often it failed so since the last event, this one included; Stall: since counting began
	Flags        Flags
	Errno        uint16 // why it was closed, or accept() fails; Stall: has failed since the last accept
	Kind         Kind
	Family       uint8 // AF_INET 2 or AF_INET6 10, of the socket
	State        State
	Ended        Ending // StallEnd: what ended it
	Comm         Comm
}

// Ending is what ended a stall.
type Ending uint8

const (
	NotEnded      Ending = 0
	EndedByAccept Ending = 1 // somebody accepted
	EndedByClose  Ending = 2 // the listener was closed or shut down, its queue purged
	EndedByEmpty  Ending = 3 // the queue is empty, and nobody was seen to accept
)

// Wait is the time spent in the queue until the event, and whether it is
// known. The kernel stores when a connection became ESTABLISHED a moment after
// it queued it, so an accept that gets in between has waited 0 and Queued 0.
func (e *Event) Wait() (time.Duration, bool) {
	if e.Queued == 0 {
		return 0, false
	}
	return time.Duration(max(0, e.Time-e.Queued)), true
}

// Comm is a thread's name, NUL-padded (TASK_COMM_LEN, include/linux/sched.h). Decode
// clears what the kernel, before Linux 5.17, leaves of a longer name that was before
// it (__set_task_comm, fs/exec.c).
type Comm [16]byte

func (c Comm) String() string {
	for i, b := range c {
		if b == 0 {
			return string(c[:i])
		}
	}
	return string(c[:])
}

// State is a TCP state by the kernel's number (include/net/tcp_states.h).
type State uint8

const (
	Established State = 1
	SynSent     State = 2
	SynRecv     State = 3
	FinWait1    State = 4
	FinWait2    State = 5
	TimeWait    State = 6
	Close       State = 7
	CloseWaited State = 8
	LastAck     State = 9
	Listening   State = 10
	Closing     State = 11
	NewSynRecv  State = 12
)
