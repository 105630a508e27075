package listener

import (
	"container/list"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/event"
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

// Place is where a connection was queued, as far as that can be told.
type Place struct {
	Key  Key    // the bound address
	Open int    // open listeners that share it: a SO_REUSEPORT group if several
	ID   uint64 // of the listener; 0: any of the group, or not known any more
	// Depth and Backlog are those of the queue when it was last heard of; 0 and
	// 0: not known, or not one queue only.
	Depth, Backlog uint32
}

// Resolve finds the listener of an event: by its ID, or else by its address as
// the kernel would. It reports false if none is known.
func (t *Table) Resolve(e *event.Event) (Place, bool) {
	if e.ListenerID != 0 {
		if m := t.byID(e.ListenerID); m != nil {
			return m.place(), true
		}
		if r := t.closed.rows[e.ListenerID]; r != nil {
			return Place{Key: r.key, Open: len(r.open), ID: e.ListenerID}, true
		}
	}
	if e.Kind == event.AcceptError {
		m, r := t.listenerOf(0, e.Inode, Key{e.NetNS, e.Local, e.Ifindex})
		if m != nil {
			return m.place(), true
		}
		return r.place()
	}
	return t.rowAt(e.NetNS, e.Local, e.Ifindex).place()
}

func (m *member) place() Place {
	return Place{m.row.key, len(m.row.open), m.id, m.depth, m.backlog}
}

func (r *row) place() (Place, bool) {
	if r == nil || r.stray() {
		return Place{}, false
	}
	if m := r.only(); m != nil {
		return m.place(), true
	}
	return Place{Key: r.key, Open: len(r.open)}, true
}

// only is the row's open listener, if there is exactly one.
func (r *row) only() *member {
	if r == nil || len(r.open) != 1 {
		return nil
	}
	return r.open[0]
}

// stray says that no listener was ever known at the row's address.
func (r *row) stray() bool { return len(r.open)+len(r.closing) == 0 && r.closed == 0 }

// memberOf is the listener of an event, nil if none or not one only is known.
func (t *Table) memberOf(e *event.Event) *member {
	if e.ListenerID != 0 {
		return t.byID(e.ListenerID)
	}
	return t.rowAt(e.NetNS, e.Local, e.Ifindex).only()
}

// rowAt finds the row of a connection's own end as the kernel finds a listener
// (inet_lookup_listener and compute_score, net/ipv4/inet_hashtables.c): a
// specific address before a wildcard, bound to the device before not bound,
// IPv4 before an IPv6 wildcard that takes IPv4. A row with an open listener
// goes before those without.
func (t *Table) rowAt(netns uint32, local netip.AddrPort, ifindex uint32) *row {
	addr, port := local.Addr().Unmap(), local.Port()
	var closed *row
	try := func(addr netip.Addr, mapped bool) *row {
		for _, dev := range [2]uint32{ifindex, 0} {
			r := t.rows[Key{netns, netip.AddrPortFrom(addr, port), dev}]
			if r != nil && (!mapped || r.mapped) {
				if len(r.open) > 0 {
					return r
				}
				if closed == nil {
					closed = r
				}
			}
			if ifindex == 0 {
				break
			}
		}
		return nil
	}
	if r := try(addr, false); r != nil {
		return r
	}
	if addr.Is4() {
		if r := try(netip.IPv4Unspecified(), false); r != nil {
			return r
		}
	}
	if r := try(netip.IPv6Unspecified(), addr.Is4()); r != nil {
		return r
	}
	return closed
}
