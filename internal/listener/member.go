package listener

import (
	"slices"
	"time"
)

// member is one listener: a socket, from the time that it is known until it
// is closed and its last counts are in.
type member struct {
	id     uint64
	row    *row
	since  int64 // ns: known since
	inode  uint32
	family uint8
	v6Only bool

	depth     uint32
	depthAt   int64 // ns: depth is as of
	backlog   uint32
	nonEmpty  int64 // ns: first seen with entries since it was seen without
	emptiedAt int64 // ns: last seen without entries

	lastAccept    int64 // ns; 0: none seen
	nonEmptySince int64 // ns, by the kernel; 0: not seen
	counted       bool  // attachByBooks is known
	settledBooks  bool  // two samples in a row told the same
	// booksFrom says that counting a listener began when there may have been
	// something in its queue: it was in the first sample of all, say.
	booksFrom bool
	// onlyBooks says that what its entries say is no help: they are told by
	// when counting began, which is not known.
	onlyBooks     bool
	counts        Counted // of the last sample, without Waits
	waits         *Histogram
	attachByBooks uint64 // queued at attach, by the first samples
	failures      failures
	lastOverflow  int64  // ns; 0: none seen
	maxDepth      uint32 // of what events, samples and walks told
	maxDepthLimit uint32 // the backlog then

	next     walked // the walk that goes on
	last     walked // the last one that came to its end
	walks    int    // that came to their end
	walking  bool
	attach   uint64  // first walk: entries queued before counting began
	whole    bool    // first walk: it saw the whole queue
	wholeAt  int64   // ns: the last walk that saw the whole queue
	upcoming []int64 // ns: Queued of those at the head, known from the last walk
	// movedIn is how many of attach had come from other listeners of the group
	// instead, by the first sample after the first walk: they are in the books
	// of these.
	movedIn uint64
	settled bool // movedIn is known

	stalledSince int64 // ns; 0: not stalled
	stalls       uint64
	stalled      time.Duration // in stalls that are over
	purging      bool
	closed       bool
	closedAt     int64 // ns
	final        bool  // the last counts are in
	updates      int   // since it was closed, without it
}

// byID is the listener of this ID; nil: it is not known.
func (t *Table) byID(id uint64) *member {
	if m := t.recent.Get(id); m != nil {
		return m
	}
	m := t.members[id]
	if m != nil {
		t.recent.Put(id, m)
	}
	return m
}

// memberFor is the listener of this ID, which is made if it is not known. It is
// nil if it was closed before.
func (t *Table) memberFor(id uint64, key Key, family uint8, at int64) *member {
	if m := t.byID(id); m != nil {
		return m
	}
	if id == 0 || t.closed.rows[id] != nil {
		return nil
	}
	m := &member{id: id, since: at, family: family, row: t.rowFor(key)}
	t.members[id] = m
	t.joined = true
	t.met++
	t.join(m)
	return m
}

// setInode notes the inode of the listening socket; 0: not known.
func (t *Table) setInode(m *member, inode uint32) {
	if inode == 0 || inode == m.inode {
		return
	}
	m.inode = inode
	t.met++
	if !m.closed {
		t.inodes[inode] = m
	}
}

// setDepth takes the depth as of a time, unless a later one is known.
func (m *member) setDepth(depth uint32, at int64) {
	if at < m.depthAt {
		return
	}
	m.depth, m.depthAt = depth, at
	m.deepened(depth, m.backlog)
	switch {
	case depth == 0:
		m.nonEmpty, m.emptiedAt, m.upcoming = 0, at, m.upcoming[:0]
	case m.nonEmpty == 0:
		m.nonEmpty = at
	}
}

// forgetUpTo drops the entry that has left the queue, and those before it; if
// it is not known, those that were queued before it. Those that migrated are
// behind others that were queued later.
func (m *member) forgetUpTo(queued int64) {
	i := slices.Index(m.upcoming, queued) + 1
	if i == 0 {
		for i < len(m.upcoming) && m.upcoming[i] <= queued {
			i++
		}
	}
	if i > 0 {
		m.upcoming = m.upcoming[i:]
	}
}

// deepened notes the greatest depth.
func (m *member) deepened(depth, backlog uint32) {
	if depth > m.maxDepth {
		m.maxDepth, m.maxDepthLimit = depth, backlog
	}
}

// filledAt is when the kernel saw the queue become non-empty, 0 if it did not,
// or the queue was empty since.
func (m *member) filledAt() int64 {
	if m.nonEmptySince < m.emptiedAt {
		return 0
	}
	return m.nonEmptySince
}

// oldest is when the entry at the head of the queue entered it, in ns; 0: not
// known, or there is none.
func (m *member) oldest() int64 {
	if m.depth == 0 {
		return 0
	}
	filled := m.filledAt()
	if len(m.upcoming) > 0 && filled <= m.last.at { // or the queue was empty since
		return m.upcoming[0]
	}
	if filled > m.lastAccept {
		return filled
	}
	return 0
}

// waitingSince is since when the queue has had entries and nobody accepted, in
// ns; 0 if it is empty. For a queue that had entries before the tracer was
// attached, it is when the entry at its head entered it: at least since then,
// it has not been empty.
func (m *member) waitingSince() int64 {
	if m.depth == 0 {
		return 0
	}
	from := m.filledAt()
	if head := m.oldest(); from == 0 && head >= m.emptiedAt && m.movedIn == 0 {
		from = head // or it migrated, and has waited in another queue before
	}
	if from == 0 {
		from = m.nonEmpty
	}
	return max(from, m.lastAccept)
}

// count takes what a sample says. Counts only grow, so an older sample changes
// nothing. Where accept() is sampled, there are no books of a listener.
func (m *member) count(c *Counted, at int64) {
	had := m.counts
	touched := c.Enqueued > had.Enqueued || c.Accepted > had.Accepted || c.Purged > had.Purged ||
		c.MigratedIn > had.MigratedIn || c.MigratedOut > had.MigratedOut ||
		c.LastAccept > had.LastAccept || c.NonEmptySince > had.NonEmptySince || c.Depth != had.Depth
	if refused := c.OverflowSYN + c.OverflowACK; refused > had.OverflowSYN+had.OverflowACK {
		m.lastOverflow = max(m.lastOverflow, at)
	}
	now := *c
	now.Waits = nil
	now.Enqueued = max(c.Enqueued, had.Enqueued)
	now.Accepted = max(c.Accepted, had.Accepted)
	now.AcceptedCloseWait = max(c.AcceptedCloseWait, had.AcceptedCloseWait)
	now.AcceptedReset = max(c.AcceptedReset, had.AcceptedReset)
	now.Purged = max(c.Purged, had.Purged)
	now.PurgedDead = max(c.PurgedDead, had.PurgedDead)
	now.MigratedIn = max(c.MigratedIn, had.MigratedIn)
	now.MigratedOut = max(c.MigratedOut, had.MigratedOut)
	now.OverflowSYN = max(c.OverflowSYN, had.OverflowSYN)
	now.OverflowACK = max(c.OverflowACK, had.OverflowACK)
	now.Full = max(c.Full, had.Full)
	now.MaxWait = max(c.MaxWait, had.MaxWait)
	now.Folded = c.Folded || had.Folded
	m.counts = now
	if c.Waits != nil && !c.Folded && (m.waits == nil || m.waits.Count() != c.Waits.Count()) {
		m.waits = c.Waits.Clone()
		m.waits.NoteMax(time.Duration(now.MaxWait))
	}
	m.lastAccept = max(m.lastAccept, c.LastAccept)
	m.nonEmptySince = max(m.nonEmptySince, c.NonEmptySince)
	// The kernel's depth is as of the last event that touched the listener:
	// without a new one, a walk knows better.
	if touched || m.backlog == 0 {
		m.backlog = c.Backlog
	}
	if touched {
		m.setDepth(c.Depth, at)
	}
	m.deepened(c.MaxDepth, c.Backlog)
}

// keepBooks tells from the counts what was queued at attach. They and the depth are
// read while they change, which can make it one or two off: what two samples in a row
// tell is right. byAddress are accepts that are this listener's, and not in its counts.
func (m *member) keepBooks(byAddress uint64) {
	if m.settledBooks {
		return
	}
	c := &m.counts
	queued := uint64(max(0, int64(m.depth)+int64(c.Accepted+byAddress+c.Purged+c.MigratedOut)-
		int64(c.Enqueued+c.MigratedIn)))
	m.settledBooks = m.counted && queued == m.attachByBooks
	m.counted, m.attachByBooks = true, queued
}

// queuedAtAttach is how many were in the queue when counting began, and whether
// that is known: by the first walk, or by the books where that did not see all. It
// did not where it was cut, and of listeners that were there when counting them
// began, where it comes too late for those that were accepted before.
func (m *member) queuedAtAttach() (uint64, bool) {
	walked := m.attach - m.movedIn
	switch {
	case m.counted && m.onlyBooks:
		return m.attachByBooks, true
	case m.whole && !m.booksFrom:
		return walked, true
	}
	return max(walked, m.attachByBooks), m.whole || m.counted
}

// settle tells those that a first walk found apart by where they were at attach.
func (m *member) settle() {
	if m.walks > 0 && !m.settled {
		m.movedIn, m.settled = min(m.attach, m.counts.MigratedIn), true
	}
}
