package listener

import (
	"time"
)

// totals are the counts of listeners, which can be summed.
type totals struct {
	enqueued, accepted, acceptedDead uint64
	purged, purgedDead               uint64
	migratedIn, migratedOut          uint64
	overflowSYN, overflowACK         uint64
	maxDepth, maxDepthLimit          uint32
	full                             time.Duration
	failures                         failures
	lastOverflow                     int64
	atAttach                         uint64
	attachNotKnown                   bool
	stalls                           uint64
	stalled                          time.Duration
	lastAccept, maxWait              int64
	waits                            *Histogram
	lent                             bool // others hold waits: it must not be changed
	folded                           bool
}

func (m *member) totals(now int64) totals {
	c := &m.counts
	s := totals{
		enqueued: c.Enqueued, accepted: c.Accepted, acceptedDead: c.AcceptedCloseWait + c.AcceptedReset,
		purged: c.Purged, purgedDead: c.PurgedDead,
		migratedIn: c.MigratedIn, migratedOut: c.MigratedOut,
		overflowSYN: c.OverflowSYN, overflowACK: c.OverflowACK, lastOverflow: m.lastOverflow,
		maxDepth: m.maxDepth, maxDepthLimit: m.maxDepthLimit, full: c.Full,
		failures: m.failures,
		stalls:   m.stalls, stalled: m.stalled,
		lastAccept: m.lastAccept, maxWait: c.MaxWait,
		waits: m.waits, folded: c.Folded,
	}
	atAttach, known := m.queuedAtAttach()
	s.atAttach, s.attachNotKnown = atAttach, !known
	if m.stalledSince != 0 {
		s.stalled += time.Duration(max(0, now-m.stalledSince))
	}
	return s
}

func (s *totals) add(o *totals) {
	s.enqueued += o.enqueued
	s.accepted += o.accepted
	s.acceptedDead += o.acceptedDead
	s.purged += o.purged
	s.purgedDead += o.purgedDead
	s.migratedIn += o.migratedIn
	s.migratedOut += o.migratedOut
	s.overflowSYN += o.overflowSYN
	s.overflowACK += o.overflowACK
	s.lastOverflow = max(s.lastOverflow, o.lastOverflow)
	if o.maxDepth > s.maxDepth {
		s.maxDepth, s.maxDepthLimit = o.maxDepth, o.maxDepthLimit
	}
	s.full += o.full
	s.failures.addAll(o.failures)
	s.atAttach += o.atAttach
	s.attachNotKnown = s.attachNotKnown || o.attachNotKnown
	s.stalls += o.stalls
	s.stalled += o.stalled
	s.lastAccept = max(s.lastAccept, o.lastAccept)
	s.maxWait = max(s.maxWait, o.maxWait)
	s.folded = s.folded || o.folded
	switch {
	case o.waits == nil:
	case s.waits == nil:
		s.waits, s.lent = o.waits, true
	default:
		if s.lent {
			s.waits, s.lent = s.waits.Clone(), false
		}
		s.waits.Merge(o.waits)
	}
}
