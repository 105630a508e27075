package listener

import (
	"container/list"
	"net/netip"
	"slices"
)

// row is one bound address: the open listeners that share it, and the sum of
// those that were closed. A queued connection is tied to its address only, so
// deaths belong to the row.
type row struct {
	key     Key
	open    []*member     // listeners
	closing []*member     // closed, their last counts are to come
	family  uint8         // of its last listener
	inode   uint32        // of the listener that closed last; 0: not known
	mapped  bool          // one of its listeners is IPv6 and takes IPv4
	mptcp   bool          // one of its listeners takes MPTCP connections
	inPast  *list.Element // in Table.past, when there is no listener

	closed  uint64 // listeners
	total   totals // of those closed
	deaths  atAddress
	passage passage
	dead    deadList // dead and still queued
	// attachDead is how many were dead already when a first walk found them.
	attachDead uint64
}

// atAddress is AtAddress without the address: as many are kept as there are
// addresses.
type atAddress struct {
	closeWait, reset, resetAfterFIN  uint64
	accepted, acceptedDead, enqueued uint64
}

func (a *atAddress) add(o atAddress) {
	a.closeWait += o.closeWait
	a.reset += o.reset
	a.resetAfterFIN += o.resetAfterFIN
	a.accepted += o.accepted
	a.acceptedDead += o.acceptedDead
	a.enqueued += o.enqueued
}

// plain is the key with IPv4 as IPv4: an IPv6 socket holds it v4-mapped.
func (k Key) plain() Key {
	if k.Addr.Addr().Is4In6() {
		k.Addr = netip.AddrPortFrom(k.Addr.Addr().Unmap(), k.Addr.Port())
	}
	return k
}

// rowFor is the row of a bound address, which is made if there is none.
func (t *Table) rowFor(key Key) *row {
	key = key.plain()
	r := t.rows[key]
	if r == nil {
		r = &row{key: key}
		t.rows[key] = r
	}
	return r
}

// join adds a new listener to its row.
func (t *Table) join(m *member) {
	r := m.row
	r.open = append(r.open, m)
	r.family = m.family
	delete(t.strays, r)
	if r.inPast != nil {
		t.past.Remove(r.inPast)
		r.inPast = nil
	}
}

// fold adds the counts of a closed listener to its row, and forgets it.
func (t *Table) fold(m *member) {
	r := m.row
	s := m.totals(t.now)
	r.total.add(&s)
	r.closed++
	if m.inode != 0 {
		r.inode = m.inode
	}
	r.closing = without(r.closing, m)
	delete(t.members, m.id)
	t.recent.Forget(m.id)
	t.closed.add(m.id, r)
	if len(r.open)+len(r.closing) == 0 {
		t.retire(r)
	}
}

// without takes m out of members, of which it is most often the first.
func without(members []*member, m *member) []*member {
	i := slices.Index(members, m)
	if i == 0 {
		members[0] = nil
		return members[1:]
	}
	return slices.Delete(members, i, i+1)
}

// retire keeps a row without listeners, as long as there is room.
func (t *Table) retire(r *row) {
	r.inPast = t.past.PushBack(r)
	for t.past.Len() > t.opt.MaxRows {
		t.rowsFolded++
		t.absorb(t.others(), t.past.Front().Value.(*row))
	}
}

// others is the row of all that has none of its own.
func (t *Table) others() *row {
	if t.other == nil {
		t.other = &row{}
	}
	return t.other
}

// absorb adds a row without listeners to another one, and forgets it.
func (t *Table) absorb(into, r *row) {
	into.closed += r.closed
	into.total.add(&r.total)
	into.deaths.add(r.deaths)
	into.attachDead += r.attachDead
	into.passage.absorb(&r.passage)
	r.total, r.deaths, r.passage = totals{}, atAddress{}, passage{}
	if r.inPast != nil {
		t.past.Remove(r.inPast)
		r.inPast = nil
	}
	t.absorbed(r, into)
	delete(t.rows, r.key)
	delete(t.strays, r)
}
