package listener

import (
	"math"
	"time"

	"acceptwatch/internal/event"
)

// startStall emits a stall: the queue of m has had entries, and nobody
// accepted, since a time. If accept() was called and failed since, the event
// names who failed most, with the errno and how often in all.
func (t *Table) startStall(m *member, since, now int64, emit func(*event.Event)) {
	m.stalledSince = since
	m.stalls++
	stall := event.Event{Kind: event.Stall, Time: now, Queued: since}
	if t.opt.Sampled {
		stall.Flags = event.Sampled
	}
	if worst := m.failures.worstSince(m.lastAccept); worst != nil {
		stall.PID, stall.Comm, stall.Errno = worst.PID, worst.Comm, worst.Errno
		stall.Repeats = uint32(min(worst.Count, math.MaxUint32))
	}
	t.emitStall(m, stall, emit)
}

// endStall emits the end of the stall of m. by is the accept that ended it, nil
// if none did or it was not seen.
func (t *Table) endStall(m *member, at int64, how event.Ending, by *event.Event, emit func(*event.Event)) {
	at = max(at, m.stalledSince)
	end := event.Event{Kind: event.StallEnd, Time: at, Queued: m.stalledSince, Ended: how}
	if by != nil {
		end.PID, end.TID, end.Comm = by.PID, by.TID, by.Comm
		end.Flags = by.Flags & event.Sampled
	}
	m.stalled += time.Duration(at - m.stalledSince)
	m.stalledSince = 0
	t.emitStall(m, end, emit)
}

func (t *Table) emitStall(m *member, e event.Event, emit func(*event.Event)) {
	if emit == nil {
		return
	}
	k := m.row.key
	e.ListenerID, e.Local, e.NetNS, e.Ifindex = m.id, k.Addr, k.NetNS, k.Ifindex
	e.Depth, e.Backlog, e.Inode = m.depth, m.backlog, m.inode
	e.Family, e.State = m.family, event.Listening
	t.derived = e
	emit(&t.derived)
}

// isDue says whether checkStall would do something.
func (t *Table) isDue(m *member, now int64) bool {
	if m.stalledSince != 0 {
		return m.closed || m.depth == 0 || m.waitingSince() > m.stalledSince
	}
	return t.stalls(m, now)
}

// stalls says that nobody has accepted for long enough. What happened before
// the listener was known is not: the entry at the head of a busy queue may be
// old, and the one before it accepted just now. So, without an accept or a
// start of the queue to count from, it must have been watched for a fifth of
// StallAfter at least.
func (t *Table) stalls(m *member, now int64) bool {
	if m.closed || m.purging {
		return false
	}
	since := m.waitingSince()
	if since == 0 || now-since < int64(t.opt.StallAfter) {
		return false
	}
	return since == m.lastAccept || since == m.filledAt() || now-m.since >= int64(t.opt.StallAfter)/5
}

// checkStall emits the end of a stall, or the begin of one, or both.
func (t *Table) checkStall(m *member, now int64, emit func(*event.Event)) {
	if from := m.stalledSince; from != 0 {
		switch {
		case m.closed:
			t.endStall(m, m.closedAt, event.EndedByClose, nil, emit)
		case m.lastAccept > from:
			t.endStall(m, m.lastAccept, event.EndedByAccept, nil, emit)
		case m.depth == 0 && m.purging:
			t.endStall(m, now, event.EndedByClose, nil, emit)
		case m.depth == 0:
			t.endStall(m, now, event.EndedByEmpty, nil, emit)
		case m.filledAt() > from:
			t.endStall(m, min(now, m.filledAt()), event.EndedByEmpty, nil, emit)
		case m.waitingSince() > from:
			// A walk found another entry at the head: only accept takes one
			// out while the listener is open.
			t.endStall(m, min(now, m.last.at), event.EndedByAccept, nil, emit)
		}
	}
	if m.stalledSince == 0 && t.stalls(m, now) {
		t.startStall(m, m.waitingSince(), now, emit)
	}
}
