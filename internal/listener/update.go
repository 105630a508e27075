package listener

import (
	"cmp"
	"slices"
	"time"

	"acceptwatch/internal/event"
)

// maxAddresses bounds the local addresses whose deaths are followed.
const maxAddresses = 1 << 17

// forgetNowhere is after how long a dead connection is forgotten, in ns, whose
// listener did not become known by a walk: it was about to be closed.
const forgetNowhere = int64(time.Minute)

// address is what is known of the deaths at a connection's own end.
type address struct {
	counted atAddress // the most that was counted or told, which is in a row
	told    struct {  // by events, and by walks where there was none
		closeWait, reset, resetAfterFIN uint64
	}
	news bool // told has grown since the last sample
}

// Update takes the next sample; what it does not mention is as it was. It
// copies what it keeps. It calls emit, if not nil, with the stalls that begin
// and end; emit must not keep the event.
func (t *Table) Update(s *Sample, emit func(*event.Event)) {
	t.see(s.Time)
	if t.opt.Sampled {
		t.pass()
	}
	first := t.sampled == 0
	for i := range s.Listeners {
		c := &s.Listeners[i]
		if c.ID == 0 {
			t.noEntry = *c
			continue
		}
		if c.Folded && c.Waits != nil && (t.shared == nil || t.shared.Count() != c.Waits.Count()) {
			t.shared = c.Waits.Clone()
		}
		if m := t.memberFor(c.ID, c.Key, c.Family, s.Time); m != nil {
			m.setV6Only(c.V6Only)
			t.setInode(m, c.Inode)
			m.count(c, s.Time)
			m.booksFrom = m.booksFrom || first || t.opt.ByHolder
			m.onlyBooks = m.onlyBooks || first && t.opt.Start == 0
			if !m.final { // or it is said again
				m.final, m.updates = c.Closed, 0
			}
		}
	}
	// Before anything is closed: who died, died in an open listener's queue.
	lost := uint64(0)
	for _, a := range s.Addresses {
		if !t.attribute(a, s.Time) {
			lost++
		}
	}
	for _, key := range t.told {
		known := t.addresses[key]
		known.news = false
		t.attribute(AtAddress{Key: key, CloseWait: known.told.closeWait, Reset: known.told.reset, ResetAfterFIN: known.told.resetAfterFIN}, s.Time)
	}
	t.told = t.told[:0]
	t.addressLost = max(t.addressLost, lost)
	t.tallyErrors(s.AcceptErrors)
	t.adopt()
	if t.opt.Sampled {
		t.enter(s.Time)
	} else {
		t.keepBooks(s)
	}
	t.checkStalls(s.Time, emit)
	for i := range s.Listeners {
		if m := t.byID(s.Listeners[i].ID); m != nil && m.final {
			t.close(m, s.Time, emit)
		}
	}
	t.foldClosed()
	t.dead.removeBefore(&t.nowhere, s.Time-forgetNowhere)
	t.losses = append(t.losses[:0], s.Losses...)
	t.sampled = s.Time
}

// keepBooks keeps those of the listeners of a sample.
func (t *Table) keepBooks(s *Sample) {
	for i := range s.Listeners {
		m := t.byID(s.Listeners[i].ID)
		if m == nil {
			continue
		}
		byAddress := uint64(0)
		if r := m.row; len(r.open) == 1 && r.closed+uint64(len(r.closing)) == 0 {
			byAddress = r.deaths.accepted
		}
		m.keepBooks(byAddress)
	}
}

// attribute gives what is new at an address to the listener there, or to a row
// by itself if none is known; the zero Key is for what the source could tie to
// no address. It reports false if there is no room to follow
// the address.
func (t *Table) attribute(a AtAddress, at int64) bool {
	key := a.Key.plain()
	known := t.addresses[key]
	if known == nil {
		if len(t.addresses) >= maxAddresses {
			return false
		}
		known = &address{}
		t.addresses[key] = known
	}
	had := &known.counted
	more := atAddress{
		closeWait:     Grown(a.CloseWait, had.closeWait),
		reset:         Grown(a.Reset, had.reset),
		resetAfterFIN: Grown(a.ResetAfterFIN, had.resetAfterFIN),
		accepted:      Grown(a.Accepted, had.accepted),
		acceptedDead:  Grown(a.AcceptedDead, had.acceptedDead),
		enqueued:      Grown(a.Enqueued, had.enqueued),
	}
	if more == (atAddress{}) {
		return true
	}
	had.add(more)
	r := t.rowAt(key.NetNS, key.Addr, key.Ifindex)
	switch {
	case !key.Addr.IsValid():
		r = t.others()
	case r == nil:
		r = t.rowFor(key)
		t.strays[r] = struct{}{}
		t.retire(r)
	}
	r.deaths.add(more)
	// Such an accept may have been seen as an event, which knows when it was.
	if m := r.only(); m != nil && more.accepted > 0 && m.lastAccept <= t.sampled {
		m.lastAccept = at
	}
	return true
}

// adopt gives what happened at addresses without a listener to the listeners
// that became known since.
func (t *Table) adopt() {
	if !t.joined {
		return
	}
	t.joined = false
	for r := range t.strays {
		if to := t.rowAt(r.key.NetNS, r.key.Addr, r.key.Ifindex); to != r && len(to.open) > 0 {
			t.absorb(to, r)
		}
	}
}

// checkStalls emits the stalls that begin and end, those of the longest first.
func (t *Table) checkStalls(now int64, emit func(*event.Event)) {
	t.due = t.due[:0]
	for _, m := range t.members {
		m.settle()
		if t.isDue(m, now) {
			t.due = append(t.due, m)
		}
	}
	slices.SortFunc(t.due, func(a, b *member) int {
		return cmp.Or(
			cmp.Compare(cmp.Or(a.stalledSince, a.waitingSince()), cmp.Or(b.stalledSince, b.waitingSince())),
			a.row.key.compare(b.row.key),
			cmp.Compare(a.id, b.id))
	})
	for _, m := range t.due {
		t.checkStall(m, now, emit)
	}
	clear(t.due)
}

func (k Key) compare(o Key) int {
	return cmp.Or(k.Addr.Compare(o.Addr), cmp.Compare(k.NetNS, o.NetNS), cmp.Compare(k.Ifindex, o.Ifindex))
}

// foldClosed forgets the closed listeners whose last counts are in, one sample
// later: the ring may still hold events of before.
func (t *Table) foldClosed() {
	waiting := t.closing[:0]
	for _, m := range t.closing {
		m.updates++
		if m.final && m.updates > 1 || m.updates > waitForLast {
			t.fold(m)
		} else {
			waiting = append(waiting, m)
		}
	}
	clear(t.closing[len(waiting):])
	t.closing = waiting
}
