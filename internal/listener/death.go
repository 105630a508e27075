package listener

import (
	"acceptwatch/internal/event"
)

// died takes a close_wait or a reset, and reports whether it is news.
func (t *Table) died(e *event.Event, emit func(*event.Event)) bool {
	news := t.mark(e, emit)
	if news {
		t.tell(e)
	}
	return news
}

// tell counts a death that is news, by its address as the kernel does. The kernel
// knows the deaths whose events were lost; this knows those that a walk or an
// accept showed because the kernel skipped the program that counts them.
func (t *Table) tell(e *event.Event) {
	key := Key{e.NetNS, e.Local, e.Ifindex}.plain()
	known := t.addresses[key]
	if known == nil {
		if len(t.addresses) >= maxAddresses {
			return // as the sample will find
		}
		known = &address{}
		t.addresses[key] = known
	}
	if e.Kind == event.CloseWait {
		known.told.closeWait++
	} else {
		known.told.reset++
		if e.Flags&event.AfterFIN != 0 {
			known.told.resetAfterFIN++
		}
	}
	if !known.news {
		known.news = true
		t.told = append(t.told, key)
	}
}

// mark notes that a connection is dead.
func (t *Table) mark(e *event.Event, emit func(*event.Event)) bool {
	id := t.dead.identify(e)
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
		if d.atAttach && d.state == state && d.row.attachDead > 0 { // no: the kernel has counted it
			d.atAttach = false
			d.row.attachDead--
		}
		if state == event.CloseWaited {
			return !d.recoveredFIN
		}
		d.state = event.Close
		return !d.recoveredRST
	}
	r := t.rowAt(e.NetNS, e.Local, e.Ifindex)
	missedFIN := e.Kind == event.Reset && e.Flags&event.AfterFIN != 0 && t.wouldKnow(e, nil)
	if missedFIN {
		t.recover(e, event.CloseWait, e.Depth, emit)
	}
	if r == nil || len(r.open) == 0 {
		r = &t.nowhere // its listener is not known yet
	}
	if i := t.dead.add(&id, state, r, e.Time); i != 0 {
		t.dead.slab[i].recoveredFIN = missedFIN
	}
	return true
}

// acceptedDead compares an accepted connection with what is known of it. The
// programs on state changes miss some runs, and rings overflow: accept looks
// at the state again.
func (t *Table) acceptedDead(e *event.Event, m *member, emit func(*event.Event)) {
	id := t.dead.identify(e)
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
	// What found no room among the dead was told, and is not known.
	if known == 0 && (t.dead.refused > 0 || !t.wouldKnow(e, m)) {
		return
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
// seen: it was queued after counting began, or it was there when the first walk
// looked at the whole queue of its listener. If not, it may have been dead
// before. m is nil if the listener is not known for sure.
func (t *Table) wouldKnow(e *event.Event, m *member) bool {
	if e.Queued == 0 || e.Queued >= t.start {
		return true
	}
	if m != nil {
		return m.whole
	}
	r := t.rowAt(e.NetNS, e.Local, e.Ifindex)
	if r == nil || len(r.open) == 0 {
		return false
	}
	for _, m := range r.open {
		if !m.whole {
			return false
		}
	}
	return true
}

// recover emits a death that was missed, as seen when e shows it.
func (t *Table) recover(e *event.Event, kind event.Kind, depth uint32, emit func(*event.Event)) {
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
	t.tell(d)
	if emit != nil {
		emit(d)
	}
}
