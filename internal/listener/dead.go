package listener

import (
	"net/netip"

	"acceptwatch/internal/event"
)

// identity tells connections apart. The queue time belongs to it: after an RST
// the same peer can connect again from the same port while the first
// connection is still queued.
type identity struct {
	local, peer         [16]byte
	queued              int64
	netns               uint32
	localPort, peerPort uint16
}

func identify(e *event.Event) identity {
	return identity{
		local: as16(e.Local.Addr()), peer: as16(e.Peer.Addr()),
		queued: e.Queued, netns: e.NetNS,
		localPort: e.Local.Port(), peerPort: e.Peer.Port(),
	}
}

// identify finds the identity of a connection that may be in the set. A subflow
// of MPTCP forgets its peer's port when it is reset (tcp_disconnect,
// net/ipv4/tcp.c), and is known by when it was queued.
func (s *deadSet) identify(e *event.Event) identity {
	id := identify(e)
	if id.peerPort != 0 || id.queued == 0 {
		return id
	}
	if len(s.index) == 0 {
		return id
	}
	s.indexTimes()
	if i := s.times[id.withoutPeer()]; i != 0 {
		return s.slab[i].id
	}
	return id
}

// withoutPeer is what is left of an identity when the peer is forgotten.
func (id identity) withoutPeer() identity {
	id.peer, id.peerPort = [16]byte{}, 0
	return id
}

// indexTimes begins to keep the set by when its connections were queued, which
// nobody asks for where there is no MPTCP.
func (s *deadSet) indexTimes() {
	if s.times != nil {
		return
	}
	s.times = make(map[identity]int32, len(s.index))
	for _, i := range s.index {
		s.addTime(i)
	}
}

func (s *deadSet) addTime(i int32) {
	key := s.slab[i].id.withoutPeer()
	s.slab[i].sameTime = s.times[key]
	s.times[key] = i
}

func (s *deadSet) removeTime(i int32) {
	key, next := s.slab[i].id.withoutPeer(), s.slab[i].sameTime
	switch at := s.times[key]; {
	case at != i:
		for ; s.slab[at].sameTime != i; at = s.slab[at].sameTime {
		}
		s.slab[at].sameTime = next
	case next != 0:
		s.times[key] = next
	default:
		delete(s.times, key)
	}
}

func as16(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

// deadSet are the connections that are known to be dead and still queued, each
// in the list of its row. Indexes into slab start at 1, so that 0 is none.
type deadSet struct {
	max     int
	index   map[identity]int32
	slab    []deadEntry
	free    int32
	refused uint64             // because there were max
	times   map[identity]int32 // the same by identity.withoutPeer; nil: not needed yet

	// Those that left last, for events that come in late.
	gone      []identity
	goneAt    int
	goneUntil int64 // ns: when the last one left
}

type deadEntry struct {
	id         identity
	row        *row
	noted      int64 // ns: last heard of
	prev, next int32
	sameTime   int32       // the next one that only its peer tells apart from this one
	state      event.State // CLOSE_WAIT or CLOSE
	atAttach   bool        // counted in row.attachDead
	// What was emitted as Recovered.
	recoveredFIN, recoveredRST bool
}

// deadList is the part of the set that belongs to a row: its first entry.
type deadList struct{ head int32 }

func (s *deadSet) len() int { return len(s.index) }

// heard notes that an entry was still queued at a time.
func (s *deadSet) heard(i int32, at int64) { s.slab[i].noted = max(s.slab[i].noted, at) }

func (s *deadSet) find(id *identity) int32 {
	if len(s.index) == 0 {
		return 0
	}
	return s.index[*id]
}

// add returns the index of the new entry, 0 if there is no room.
func (s *deadSet) add(id *identity, state event.State, r *row, at int64) int32 {
	if len(s.index) >= s.max {
		s.refused++
		return 0
	}
	if s.index == nil {
		s.index = make(map[identity]int32)
		s.slab = make([]deadEntry, 1, 64)
	}
	i := s.free
	if i != 0 {
		s.free = s.slab[i].next
	} else {
		i = int32(len(s.slab))
		s.slab = append(s.slab, deadEntry{})
	}
	s.slab[i] = deadEntry{id: *id, noted: at, state: state}
	s.index[*id] = i
	if s.times != nil {
		s.addTime(i)
	}
	s.link(i, r)
	return i
}

// link puts an entry, which is in no list, into the list of a row.
func (s *deadSet) link(i int32, r *row) {
	d := &s.slab[i]
	d.row, d.prev, d.next = r, 0, r.dead.head
	if d.next != 0 {
		s.slab[d.next].prev = i
	}
	r.dead.head = i
}

// unlink takes an entry out of the list of its row.
func (s *deadSet) unlink(i int32) {
	d := &s.slab[i]
	if d.prev != 0 {
		s.slab[d.prev].next = d.next
	} else {
		d.row.dead.head = d.next
	}
	if d.next != 0 {
		s.slab[d.next].prev = d.prev
	}
}

func (s *deadSet) remove(i int32) {
	s.unlink(i)
	d := &s.slab[i]
	if s.times != nil {
		s.removeTime(i)
	}
	delete(s.index, d.id)
	*d = deadEntry{next: s.free}
	s.free = i
	// The memory of an incident goes with it.
	if len(s.index) == 0 && len(s.slab) > 1<<12 {
		s.index, s.slab, s.free, s.times = nil, nil, 0, nil
	}
}

// move puts those of a row into the list of another one.
func (s *deadSet) move(from, to *row) {
	for i := from.dead.head; i != 0; i = from.dead.head {
		s.unlink(i)
		s.link(i, to)
	}
}

// removeBefore removes those of a row of which nothing was heard since a time.
func (s *deadSet) removeBefore(r *row, at int64) {
	for i := r.dead.head; i != 0; {
		next := s.slab[i].next
		if d := &s.slab[i]; d.noted < at {
			s.leave(&d.id, at)
			s.remove(i)
		}
		i = next
	}
}

// count is how many of a row are in CLOSE_WAIT and in CLOSE, of those that were
// heard of since a time.
func (s *deadSet) count(r *row, since int64) (inCloseWait, inClose uint32) {
	for i := r.dead.head; i != 0; i = s.slab[i].next {
		switch d := &s.slab[i]; {
		case d.noted < since:
		case d.state == event.Close:
			inClose++
		default:
			inCloseWait++
		}
	}
	return inCloseWait, inClose
}

const maxGone = 256

// leave notes that a dead connection left its queue.
func (s *deadSet) leave(id *identity, at int64) {
	if len(s.gone) < maxGone {
		s.gone = append(s.gone, *id)
	} else {
		s.gone[s.goneAt] = *id
		s.goneAt = (s.goneAt + 1) % maxGone
	}
	s.goneUntil = max(s.goneUntil, at)
}

// left says whether an event of this time is about a connection that has left
// its queue since.
func (s *deadSet) left(id *identity, at int64) bool {
	if at > s.goneUntil {
		return false
	}
	for i := range s.gone {
		if s.gone[i] == *id {
			return true
		}
	}
	return false
}
