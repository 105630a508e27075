// Package listener keeps the state of listeners and their accept queues: a
// Table takes the events and samples of any source, live or recorded, and
// gives rows, stalls, and the deaths whose events were lost. It reads no clock
// and nothing of the host: all times are those of its input.
package listener

import (
	"net/netip"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/quantity"
)

// Restricted is the mode of a source that cannot watch accept(): it samples waits,
// and counts neither refused connections nor failed accepts.
const Restricted = "restricted"

// Key is the address that a listener is bound to, or that of a connection's
// own end, with what tells equal addresses apart.
type Key struct {
	NetNS   uint32         // inode of the network namespace
	Addr    netip.AddrPort // 0.0.0.0 or [::] when bound to all
	Ifindex uint32         // device bound to; 0: none
}

// Sample is what a source counted up to Time. Every count is since the tracer
// was attached and only grows. The counts are made in the kernel where events
// are made, so they are exact even when events are lost.
type Sample struct {
	Time      int64 // ns, CLOCK_MONOTONIC
	Listeners []Counted
	Addresses []AtAddress
	// AcceptErrors are those of each process, descriptor and errno.
	AcceptErrors []AcceptError
	Losses       []Loss
}

// Keep adds what a sample just before, which the table was not given, has told
// once and for all: the last counts of listeners that have closed, and the failures
// of processes that have ended.
func (s *Sample) Keep(before *Sample) {
	for i := range before.Listeners {
		if c := &before.Listeners[i]; c.Closed {
			s.Listeners = append(s.Listeners, *c)
		}
	}
	still := make(map[uint32]bool)
	for i := range s.AcceptErrors {
		still[s.AcceptErrors[i].PID] = true
	}
	for i := range before.AcceptErrors {
		if e := &before.AcceptErrors[i]; !still[e.PID] {
			s.AcceptErrors = append(s.AcceptErrors, *e)
		}
	}
}

// Counted is one listener's own counts: what the kernel ties to it.
type Counted struct {
	ID      uint64 // the ListenerID of events; 0: of all that have no entry of their own
	Key     Key
	Family  uint8
	V6Only  bool
	Inode   uint32 // of the listening socket
	Closed  bool   // it left LISTEN: these are its last counts
	Depth   uint32 // at the last event that touched it
	Backlog uint32

	Enqueued          uint64
	Accepted          uint64
	AcceptedCloseWait uint64 // of Accepted: were in CLOSE_WAIT
	AcceptedReset     uint64 // of Accepted: were in CLOSE
	Purged            uint64
	PurgedDead        uint64 // of Purged: were in CLOSE_WAIT or CLOSE
	MigratedIn        uint64 // queued here when another listener of its group closed
	MigratedOut       uint64 // left for another listener of its group when this one closed
	OverflowSYN       uint64 // drops because the queue was full: of a SYN,
	OverflowACK       uint64 // and of the last ACK of a handshake; what is sent again counts again

	MaxDepth uint32        // greatest depth seen
	Full     time.Duration // time with more entries than the backlog, up to the sample

	LastAccept    int64 // ns; 0: none seen
	NonEmptySince int64 // ns: its depth last went from 0 to 1; 0: not seen
	MaxWait       int64 // ns

	// Waits is nil unless the histogram was asked for, or Closed. Folded
	// says that its waits are in a histogram shared with other listeners,
	// because there was none left for it.
	Waits  *Histogram
	Folded bool
}

// AtAddress is what the kernel ties to a local address only: a queued
// connection has no pointer to its listener.
type AtAddress struct {
	Key           Key    // the connection's own end, not the listener's; zero: of all without an entry
	CloseWait     uint64 // reached CLOSE_WAIT before accept
	Reset         uint64 // reached CLOSE before accept, AfterFIN included
	ResetAfterFIN uint64 // of Reset: had been in CLOSE_WAIT
	Accepted      uint64 // whose listener was not seen: skipped, or entered before attach
	AcceptedDead  uint64 // of Accepted: were in CLOSE_WAIT or CLOSE
	Enqueued      uint64 // restricted mode only
}

// AcceptError is how often accept() failed for one process, by one descriptor,
// with one errno: never EAGAIN, EINTR or a restart.
type AcceptError struct {
	ListenerID uint64 // 0: not known
	Key        Key    // bound address; zero: the listener is not known
	Inode      uint32 // of the listening socket; 0: not known
	PID        uint32
	Comm       event.Comm
	Errno      uint16
	Count      uint64
	Last       int64 // ns
}

// Loss is a number of things that were not seen or not kept, and what they were.
type Loss struct {
	What  string // key for machines, such as "ring_full"
	Text  string // for people: what was lost and what it means, for quantity.Agree
	Count uint64
}

// Words are those of Text that go with the count: "event found the buffer full".
func (l *Loss) Words() string { return quantity.Agree(l.Count, l.Text) }

// String says how many of what were lost: "1 event found the buffer full".
func (l Loss) String() string { return quantity.Count(l.Count) + " " + l.Words() }
