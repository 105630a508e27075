package event

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// String is the kind's word: accepted, close_wait, reset, purged, listener,
// queued, listener_closed, overflow, accept_error, stall, stall_end.
func (k Kind) String() string {
	switch k {
	case Accepted:
		return "accepted"
	case CloseWait:
		return "close_wait"
	case Reset:
		return "reset"
	case Purged:
		return "purged"
	case Listener:
		return "listener"
	case Queued:
		return "queued"
	case ListenerClosed:
		return "listener_closed"
	case Overflow:
		return "overflow"
	case AcceptError:
		return "accept_error"
	case Stall:
		return "stall"
	case StallEnd:
		return "stall_end"
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Kinds is every kind there is, in the order of their numbers.
func Kinds() []Kind {
	return []Kind{Accepted, CloseWait, Reset, Purged, Listener, Queued, ListenerClosed, Overflow, AcceptError, Stall, StallEnd}
}

// ParseKind is the inverse of Kind.String. Its error lists the words.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("parse event kind %q: want one of %v", s, Kinds())
}

// String is the kernel's name for the state, without its prefix TCP_
// (include/net/tcp_states.h).
func (s State) String() string {
	switch s {
	case Established:
		return "ESTABLISHED"
	case SynSent:
		return "SYN_SENT"
	case SynRecv:
		return "SYN_RECV"
	case FinWait1:
		return "FIN_WAIT1"
	case FinWait2:
		return "FIN_WAIT2"
	case TimeWait:
		return "TIME_WAIT"
	case Close:
		return "CLOSE"
	case CloseWaited:
		return "CLOSE_WAIT"
	case LastAck:
		return "LAST_ACK"
	case Listening:
		return "LISTEN"
	case Closing:
		return "CLOSING"
	case NewSynRecv:
		return "NEW_SYN_RECV"
	}
	return "state(" + strconv.Itoa(int(s)) + ")"
}

// Dead says that the peer has given up: it closed (CLOSE_WAIT) or it is gone
// (CLOSE).
func (s State) Dead() bool { return s == CloseWaited || s == Close }

// String is the ending's word: accept, close or empty; none for NotEnded.
func (n Ending) String() string {
	switch n {
	case NotEnded:
		return "none"
	case EndedByAccept:
		return "accept"
	case EndedByClose:
		return "close"
	case EndedByEmpty:
		return "empty"
	}
	return "ending(" + strconv.Itoa(int(n)) + ")"
}

// ErrnoName is the symbol of an errno, "ECONNRESET".
func ErrnoName(errno uint16) string {
	if name := unix.ErrnoName(unix.Errno(errno)); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", errno)
}
