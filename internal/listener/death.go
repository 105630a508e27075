package listener

import (
	"acceptwatch/internal/event"
)

// died takes a close_wait or a reset, and reports whether it is news.
func (t *Table) died(e *event.Event, emit func(*event.Event)) bool {
	id := identify(e)
	if t.dead.left(&id, e.Time) {
		return false
	}
	state := event.CloseWaited
	if e.Kind == event.Reset {
		state = event.Close
	}
	if i := t.dead.find(&id); i != 0 {
		t.dead.heard(i, e.Time)
		d := &t.dead.slab[i]
		if d.state != state && state == event.Close {
			t.dead.setState(i, state)
			return true
		}
		if d.atAttach && d.state == state { // no: the kernel has counted it
			d.atAttach = false
			d.row.attachDead--
		}
		return d.recovered == 0
	}
	r := t.rowAt(e.NetNS, e.Local, e.Ifindex)
	if e.Kind == event.Reset && e.Flags&event.AfterFIN != 0 && t.wouldKnow(e, r) {
		t.recover(e, event.CloseWait, e.Depth, emit)
	}
	switch {
	case r == nil || r.open > 0:
		t.dead.add(&id, state, r, e.Time)
	case r.closed == 0 && len(r.members) == 0: // its listener is not known yet
		t.dead.add(&id, state, nil, e.Time)
	}
	return true
}

// acceptedDead compares an accepted connection with what is known of it. The
// programs on state changes miss some runs, and rings overflow: accept looks
// at the state again.
func (t *Table) acceptedDead(e *event.Event, m *member, emit func(*event.Event)) {
	id := identify(e)
	i := t.dead.find(&id)
	if i == 0 && (!e.State.Dead() || t.dead.left(&id, e.Time)) {
		return
	}
	var known event.State
	if i != 0 {
		known = t.dead.slab[i].state
		t.dead.remove(i)
	}
	t.dead.leave(&id, e.Time)
	// The event of an accept() entered before attach is made after it
	// returned: the peer may have closed in between. A sampled one has its
	// state from a walk, which was looked at.
	if e.Flags&(event.ExitUnseen|event.Sampled) != 0 ||
		known == e.State || !e.State.Dead() || known == event.Close {
		return
	}
	if known == 0 {
		var r *row
		if m != nil {
			r = m.row
		} else {
			r = t.rowAt(e.NetNS, e.Local, e.Ifindex)
		}
		if !t.wouldKnow(e, r) {
			return
		}
	}
	if e.State == event.CloseWaited {
		t.recover(e, event.CloseWait, e.Depth+1, emit)
		return
	}
	was := *e
	if known == event.CloseWaited {
		was.Flags |= event.AfterFIN
	}
	t.recover(&was, event.Reset, e.Depth+1, emit)
}

// wouldKnow says that a connection would be known as dead if its death had been
// seen: it was queued after counting began, or it was there when a first walk
// looked at the whole queue. If not, it may have been dead before.
func (t *Table) wouldKnow(e *event.Event, r *row) bool {
	if e.Queued == 0 || e.Queued >= t.start {
		return true
	}
	if r == nil || r.open == 0 {
		return false
	}
	for _, m := range r.members {
		if !m.closed && !m.whole {
			return false
		}
	}
	return true
}

// recover emits a death that was missed, as seen when e shows it.
func (t *Table) recover(e *event.Event, kind event.Kind, depth uint32, emit func(*event.Event)) {
	if emit == nil {
		return
	}
	d := &t.derived
	*d = *e
	d.Kind, d.Depth = kind, depth
	d.Flags = event.Recovered
	d.State = event.CloseWaited
	if kind == event.Reset {
		d.State = event.Close
		d.Flags |= e.Flags & event.AfterFIN
	}
	if e.Kind == event.Accepted { // not of the one who accepted
		d.PID, d.TID, d.Comm = 0, 0, event.Comm{}
	}
	emit(d)
}
