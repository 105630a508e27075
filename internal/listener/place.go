package listener

import (
	"net/netip"

	"acceptwatch/internal/event"
)

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
