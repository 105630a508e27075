package listener

import (
	"time"

	"acceptwatch/internal/event"
)

// walked is what one walk of a queue found.
type walked struct {
	at     int64  // ns
	depth  uint32 // entries that there were
	looked uint32 // entries that it came to
	cut    bool
	states [4]uint32 // by stateIndex
	ages   Ages
	heads  []int64 // Queued of the first ones
}

// maxHeads bounds the queue times that are kept of each queue.
const maxHeads = 1024

// Indexes of walked.states.
const (
	inEstablished = iota
	inCloseWait
	inClose
	inSynRecv
)

func stateIndex(s event.State) int {
	switch s {
	case event.CloseWaited:
		return inCloseWait
	case event.Close:
		return inClose
	case event.SynRecv:
		return inSynRecv
	}
	return inEstablished
}

// Ages counts entries of a queue by how long they have been in it: below
// AgeBounds()[0] in the first, and in the last those not below any.
type Ages [6]uint32

// AgeBounds are the bounds between the counts of Ages.
func AgeBounds() [5]time.Duration {
	return [5]time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute}
}

// Add counts one entry.
func (a *Ages) Add(age time.Duration) {
	for i, bound := range AgeBounds() {
		if age < bound {
			a[i]++
			return
		}
	}
	a[len(a)-1]++
}

// walk begins the walk of a listener's queue.
func (t *Table) walk(e *event.Event) {
	t.endWalk()
	key := Key{NetNS: e.NetNS, Addr: e.Local, Ifindex: e.Ifindex}
	m := t.memberFor(e.ListenerID, key, e.Family, e.Time)
	if m == nil || m.closed {
		return
	}
	m.setV6Only(e.Flags&event.V6Only != 0)
	m.row.mptcp = m.row.mptcp || e.Flags&event.MPTCP != 0
	t.setInode(m, e.Inode)
	if m.walks > 0 {
		t.sweep(m.row)
	}
	m.backlog = e.Backlog
	m.setDepth(e.Depth, e.Time)
	m.next = walked{at: e.Time, depth: e.Depth, cut: e.Flags&event.WalkCut != 0, heads: m.next.heads[:0]}
	m.walking, t.walking = true, m
	if e.Depth == 0 {
		t.endWalk()
	}
}

// queued takes one entry of the walk.
func (t *Table) queued(e *event.Event, emit func(*event.Event)) {
	m := t.byID(e.ListenerID)
	if m == nil || m.closed {
		return
	}
	before := m.walks == 0 && e.Queued != 0 && e.Queued < t.start
	if m.walking {
		w := &m.next
		w.looked++
		w.states[stateIndex(e.State)]++
		if e.Queued != 0 {
			w.ages.Add(time.Duration(max(0, e.Time-e.Queued)))
			if len(w.heads) < maxHeads {
				w.heads = append(w.heads, e.Queued)
			}
		}
		if before {
			m.attach++
		}
	}
	if e.State.Dead() {
		t.queuedDead(e, m, before, emit)
	} else if t.dead.len() > 0 {
		// The subflow of an MPTCP connection stays ESTABLISHED when the
		// connection does not.
		id := t.dead.identify(e)
		if i := t.dead.find(&id); i != 0 {
			t.dead.heard(i, e.Time)
		}
	}
	if m.walking && m.next.looked >= m.next.depth {
		t.endWalk()
	}
}

// queuedDead compares a dead entry with what is known of it.
func (t *Table) queuedDead(e *event.Event, m *member, atAttach bool, emit func(*event.Event)) {
	id := t.dead.identify(e)
	if t.dead.left(&id, e.Time) {
		return
	}
	i := t.dead.find(&id)
	if i != 0 {
		t.dead.heard(i, e.Time)
		d := &t.dead.slab[i]
		if d.row != m.row {
			t.dead.unlink(i)
			t.dead.link(i, m.row)
		}
		if d.state == event.CloseWaited && e.State == event.Close {
			d.state = event.Close
			d.recoveredRST = true
			was := *e
			was.Flags |= event.AfterFIN
			t.recover(&was, event.Reset, e.Depth, emit)
		}
		return
	}
	i = t.dead.add(&id, e.State, m.row, e.Time)
	switch {
	case atAttach:
		m.row.attachDead++
		if i != 0 {
			t.dead.slab[i].atAttach = true
		}
		return
	case i == 0 || !t.wouldKnow(e, m):
		return
	}
	kind := event.CloseWait
	if e.State == event.Close {
		kind = event.Reset
	}
	t.dead.slab[i].recoveredFIN = kind == event.CloseWait
	t.dead.slab[i].recoveredRST = kind == event.Reset
	t.recover(e, kind, e.Depth, emit)
}

// endWalk ends the walk that goes on, if any: its entries are all there, or
// something else follows them.
func (t *Table) endWalk() {
	m := t.walking
	if m == nil {
		return
	}
	t.walking, m.walking = nil, false
	whole := m.next.looked >= m.next.depth && !m.next.cut
	if m.walks == 0 {
		m.whole = whole
	}
	m.walks++
	m.last, m.next = m.next, walked{heads: m.last.heads[:0]}
	m.upcoming = m.last.heads
	if m.depth == 0 {
		m.upcoming = m.upcoming[:0]
	}
	if whole {
		m.wholeAt = m.last.at
	}
}

// sweep removes the dead that were in none of the row's queues at the last
// walk: they have left, and the event was lost. It is made when the next walk
// begins, because the last one may have come to the right listener, not known
// before, only after the others.
func (t *Table) sweep(r *row) {
	if r.dead.head != 0 {
		t.dead.removeBefore(r, r.walkedAt())
	}
}

// walkedAt is until when the walks know of all that was in the row's queues, in
// ns; 0 if one of them was not looked at whole.
func (r *row) walkedAt() int64 {
	if len(r.open) == 0 {
		return 0
	}
	at := r.open[0].wholeAt
	for _, m := range r.open[1:] {
		at = min(at, m.wholeAt)
	}
	return at
}

func (m *member) setV6Only(only bool) {
	m.v6Only = only
	a := m.row.key.Addr.Addr()
	if a.Is6() && a.IsUnspecified() && !only {
		m.row.mapped = true
	}
}
