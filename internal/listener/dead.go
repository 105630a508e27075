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
	refused uint64 // because there were max

	// Those that left last, for events that come in late.
	gone      []identity
	goneAt    int
	goneUntil int64 // ns: when the last one left
}

type deadEntry struct {
	id         identity
	row        *row // nil: no listener is known for it
	noted      int64
	prev, next int32
	state      event.State // CLOSE_WAIT or CLOSE
	atAttach   bool        // counted in row.attachDead
	recovered  event.State // the state that was emitted as Recovered
}

// deadList is the part of the set that belongs to a row.
type deadList struct {
	head             int32
	closeWait, close uint32
}

func (d *deadList) of(s event.State) *uint32 {
	if s == event.Close {
		return &d.close
	}
	return &d.closeWait
}

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
	s.link(i, r)
	return i
}

// link puts an entry, which is in no list, into that of a row.
func (s *deadSet) link(i int32, r *row) {
	if r == nil {
		return
	}
	d := &s.slab[i]
	d.row, d.prev, d.next = r, 0, r.dead.head
	if d.next != 0 {
		s.slab[d.next].prev = i
	}
	r.dead.head = i
	*r.dead.of(d.state)++
}

func (s *deadSet) setState(i int32, state event.State) {
	d := &s.slab[i]
	if d.row != nil {
		*d.row.dead.of(d.state)--
		*d.row.dead.of(state)++
	}
	d.state = state
}

func (s *deadSet) remove(i int32) {
	d := &s.slab[i]
	if r := d.row; r != nil {
		*r.dead.of(d.state)--
		if d.prev != 0 {
			s.slab[d.prev].next = d.next
		} else {
			r.dead.head = d.next
		}
		if d.next != 0 {
			s.slab[d.next].prev = d.prev
		}
	}
	delete(s.index, d.id)
	*d = deadEntry{next: s.free}
	s.free = i
	// The memory of an incident goes with it.
	if len(s.index) == 0 && len(s.slab) > 1<<12 {
		s.index, s.slab, s.free = nil, nil, 0
	}
}

// removeAll empties the list of a row.
func (s *deadSet) removeAll(r *row) {
	for r.dead.head != 0 {
		s.remove(r.dead.head)
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
