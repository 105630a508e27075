package snapshot

import (
	"hash/maphash"
	"net/netip"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// Hidden is why the state of entries is not known.
type Hidden uint8

const (
	// NoneHidden: there are none such.
	NoneHidden Hidden = iota
	// Beyond: the walk did not come so far.
	Beyond
	// Moving: they were reset, or came and went while one looked.
	Moving
	// Multipath: they are of MPTCP clients, or were reset.
	Multipath
	// Steered: they were reset, or came to another address or port than the
	// listener's (TPROXY, sk_lookup).
	Steered
	// Unlisted: sockets of the network namespace could not be listed.
	Unlisted
	// Unaddressed: they were reset, and may have come to an address that is not
	// wanted.
	Unaddressed
)

// secondLook is what a second listing found. sock_diag lists a queue that moves in
// pieces of different moments, so that what is missing in one listing proves
// nothing: what is missing in two that are otherwise the same was reset.
type secondLook struct {
	strays   map[where]struct{}
	all      *listener.Table // the listeners of any port
	unlisted map[uint32]bool // network namespaces
}

type where struct {
	netns   uint32
	local   netip.AddrPort
	ifindex uint32
}

// listing tells listings apart: in whatever order, the same entries give the same.
type listing struct {
	entries uint32
	sum     uint64
}

var listingSeed = maphash.MakeSeed()

func (l *listing) add(e *event.Event) {
	l.entries++
	l.sum += maphash.Comparable(listingSeed, entry{peer: e.Peer, cookie: e.Cookie})
}

// Hides says that entries of a queue were not listed, and have to be listed
// again to tell why. It is asked after Again.
func (l *Look) Hides() bool {
	rows := l.table.Rows()
	for i := range rows {
		if q := l.queues[rows[i].Key]; rows[i].Open > 0 && q != nil {
			if depth := q.depth(rows[i].Depth, l.opt.Walked); depth > q.entries {
				return true
			}
		}
	}
	return false
}

// Relisted takes an entry of a second listing, which is of all ports: one may
// have come to another port than its listener's. Of MPTCP, it may be accepted.
func (l *Look) Relisted(e *event.Event) {
	q := l.at(e)
	switch {
	case q == nil:
		l.second.strays[where{e.NetNS, e.Local, e.Ifindex}] = struct{}{}
	case e.Flags&event.MPTCP == 0:
		q.relisted.add(e)
	}
}

// Confirm takes a listener of any port after a second listing.
func (l *Look) Confirm(e *event.Event) {
	l.second.all.Apply(e, nil)
	if q := l.at(e); q != nil {
		q.third += e.Depth
		q.confirmed = true
	}
}

// NotListed says that sockets of a network namespace could not be listed.
func (l *Look) NotListed(netns uint32) { l.second.unlisted[netns] = true }

// steered are the network namespaces with connections that no process has, and
// that came to where nothing listens, or to a queue that does not hold them.
func (l *Look) steered(rows []listener.Row) map[uint32]bool {
	found := make(map[uint32]bool)
	for at := range l.second.strays {
		if _, ok := l.second.all.Resolve(&event.Event{NetNS: at.netns, Local: at.local, Ifindex: at.ifindex}); !ok {
			found[at.netns] = true
		}
	}
	for i := range rows {
		if q := l.queues[rows[i].Key]; q != nil && rows[i].Open > 0 && q.entries > q.depth(rows[i].Depth, l.opt.Walked) {
			found[rows[i].Key.NetNS] = true
		}
	}
	return found
}

// hidden is why what was not listed of a queue cannot be taken for reset;
// NoneHidden: it can.
func (l *Look) hidden(row *listener.Row, q *queue, steered map[uint32]bool) Hidden {
	switch {
	case l.opt.Walked:
		return Beyond
	case l.second.unlisted[row.Key.NetNS]:
		return Unlisted
	case q.mayBe > 0:
		return Multipath
	case !q.looked || !q.confirmed || q.again != row.Depth || q.third != row.Depth || q.listed != q.relisted:
		return Moving
	case steered[row.Key.NetNS]:
		return Steered
	case q.anyAddress && l.opt.Wanted != nil:
		return Unaddressed
	}
	return NoneHidden
}
