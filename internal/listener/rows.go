package listener

import (
	"slices"
	"time"
)

// Row is one bound address: the listeners that are open on it now, and the sum
// of those that were. Counts are in connections, since counting began. What is
// not known is 0 and said not to be known by the field next to it.
type Row struct {
	Key    Key
	Other  bool   // all that has no row of its own, because there were too many; Key is zero
	ID     uint64 // of the listener; 0: none is open, or several are
	Family uint8  // of the last listener; 0: none was ever known
	V6Only bool
	Inode  uint32 // of the listening socket, if none is open of the last one; 0: not known, or several
	Open   int    // listeners that are open
	Closed uint64 // listeners that were closed
	// Members are the open listeners if there are several (SO_REUSEPORT).
	// Deaths belong to their row only; in each of them they are 0.
	Members []Row

	Time         int64  // ns, CLOCK_MONOTONIC: the row is as of
	Depth        uint32 // entries in the queue, or queues
	Backlog      uint32 // limit of the queue, or the sum of limits
	OldestQueued int64  // ns: the entry at the head entered the queue; 0: not known, or none

	Enqueued      uint64
	Accepted      uint64
	AcceptedDead  uint64 // of Accepted: were in CLOSE_WAIT or CLOSE
	CloseWait     uint64 // reached CLOSE_WAIT before accept
	Reset         uint64 // reached CLOSE before accept, after FIN too
	ResetAfterFIN uint64 // of Reset: had been in CLOSE_WAIT
	Purged        uint64
	PurgedDead    uint64 // of Purged: were in CLOSE_WAIT or CLOSE
	MigratedIn    uint64 // came from a listener of the group when it closed: their waits go on
	MigratedOut   uint64 // left for another listener of the group when theirs closed

	// Refused because the queue was full. What a client sends again counts
	// again.
	OverflowSYN  uint64 // at the SYN, which was dropped
	OverflowACK  uint64 // at the last ACK: the client believes that it is connected
	LastOverflow int64  // ns: noticed; 0: none

	MaxDepth        uint32        // the greatest depth of one queue
	MaxDepthBacklog uint32        // the limit of that queue
	MaxDepthUnknown bool          // of a part in which it was no deeper than before: both are 0
	Full            time.Duration // with more entries than the backlog, the sum over queues

	AcceptErrors []AcceptFailures // the most failures first

	Wait   Waits
	Folded bool // some waits are in a histogram shared with other rows: Wait is it, if there is no other

	Unaccepted Unaccepted
	LastAccept int64 // ns; 0: none seen

	StalledSince int64 // ns: of the longest stall that goes on; 0: not stalled
	Stalls       uint64
	Stalled      time.Duration // in all stalls, up to Time

	QueuedAtAttach uint64 // in the queue when counting began, or went through it just then
	DeadAtAttach   uint64 // of QueuedAtAttach: were dead when first looked at
	AttachKnown    bool   // whether QueuedAtAttach is
	Lost           uint64 // that the books miss: the size of Imbalance

	// Sampled says that accept() was not watched (Options.Sampled). Accepted is then
	// how many entered the queue and were not there any more at the last look, and
	// nothing is Lost; Wait is of those that were Seen, which waited the longest.
	Sampled bool
	Seen    uint64 // of Accepted: a look at the queue had caught them waiting
	AtLeast bool   // there may be more than Accepted: Enqueued lacks those by MPTCP, or a listener was closed
}

// Waits are the waits of accepted connections.
type Waits struct {
	Count         uint64 // that the quantiles are of
	P50, P90, P99 time.Duration
	Max           time.Duration // exact; 0: none accepted
	Histogram     *Histogram    // to read only; nil: not asked for
	Shared        bool          // the histogram is the one that all rows share which are Folded and have no other
}

// Unaccepted is what is in a queue.
type Unaccepted struct {
	Known       bool  // a walk has looked
	Walked      int64 // ns: of the last walk, the oldest one of a group
	Established uint32
	CloseWait   uint32 // known even if no walk has looked
	Close       uint32 // known even if no walk has looked
	SynRecv     uint32
	NotLooked   uint32 // the walk did not get to these
	Ages        Ages   // as of Walked, of those looked at
}

// Dead is the number of entries whose peer has given up.
func (u *Unaccepted) Dead() uint32 { return u.CloseWait + u.Close }

// Dead is the number of connections whose peer gave up before accept:
// CLOSE_WAIT and then RST is one.
func (r *Row) Dead() uint64 {
	return r.CloseWait + r.Reset - min(r.Reset, r.ResetAfterFIN)
}

// Overflow is the number of refusals.
func (r *Row) Overflow() uint64 { return r.OverflowSYN + r.OverflowACK }

// Failed is the number of calls of accept() that failed.
func (r *Row) Failed() uint64 {
	var calls uint64
	for i := range r.AcceptErrors {
		calls += r.AcceptErrors[i].Count
	}
	return calls
}

// Oldest is how long the entry at the head has been in the queue, and whether
// that is known. It is 0 where it is not.
func (r *Row) Oldest() (time.Duration, bool) {
	if r.OldestQueued == 0 {
		return 0, false
	}
	return time.Duration(max(0, r.Time-r.OldestQueued)), true
}

// Imbalance is what the books miss: queued at attach + enqueued + migrated in -
// accepted - purged - migrated out - still queued, in connections, and whether
// it can be told. It is 0 when every connection was counted in and out, but for
// those that moved while the counts were read.
func (r *Row) Imbalance() (int64, bool) {
	return int64(r.QueuedAtAttach+r.Enqueued+r.MigratedIn) -
		int64(r.Accepted+r.Purged+r.MigratedOut+uint64(r.Depth)), r.AttachKnown
}

// Recently is until when something that happened makes a row worse, in ns.
const Recently = int64(10 * time.Second)

// Failing says that accept() failed lately.
func (r *Row) Failing() bool {
	return slices.ContainsFunc(r.AcceptErrors, func(a AcceptFailures) bool { return r.Time-a.Last < Recently })
}

// Refusing says that a connection was refused lately.
func (r *Row) Refusing() bool { return r.LastOverflow != 0 && r.Time-r.LastOverflow < Recently }
