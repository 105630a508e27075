package probe

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// sampler finds out in restricted mode, where accept() cannot be watched, what
// left the queues: a connection that one walk lists and the next does not was
// accepted in between, or dropped with its listener. (One that is reset stays
// in the queue.) What comes and goes between two walks is not seen.
type sampler struct {
	next      time.Time
	round     uint64          // number of the walk under way
	blind     map[uint32]bool // inodes of the namespaces that the last walk could not look into
	queued    map[connection]*sighting
	peers     map[connection]netip.AddrPort // of queued, by the rest of the key; nil: nobody has asked in this round
	listeners map[uint64]*sampled
}

type connection struct {
	netns  uint32
	local  netip.AddrPort
	peer   netip.AddrPort
	queued int64
}

type sighting struct {
	round uint64
	event event.Event
}

// sampled is what is known of one listener.
type sampled struct {
	round    uint64
	netns    uint32
	at       int64 // ns: time of the walk
	depth    uint32
	cut      bool // the walk did not reach the end of this queue
	accepted uint64
	finished uint64 // of accepted: in CLOSE_WAIT
	reset    uint64 // of accepted: in CLOSE
	purged   uint64
	dead     uint64 // of purged: in CLOSE_WAIT or CLOSE
	last     int64
	maxWait  time.Duration
	waits    listener.Histogram
}

func newSampler() *sampler {
	return &sampler{queued: map[connection]*sighting{}, listeners: map[uint64]*sampled{}}
}

// readSampled is Read in restricted mode.
func (t *Tracer) readSampled(fn func(*event.Event)) error {
	observe := func(e *event.Event) {
		t.sampler.observe(e)
		fn(e)
	}
	if err := t.drain(observe); err != nil {
		return err
	}
	now := time.Now()
	if now.Before(t.sampler.next) {
		return nil
	}
	t.sampler.next = now.Add(sampleEvery)
	if t.frugal {
		defer func() { t.sampler.next = now.Add(frugally(time.Since(now))) }()
	}
	t.sampler.round++
	t.sampler.peers = nil
	before := t.lostInRing()
	if err := t.Walk(); err != nil {
		return err
	}
	if err := t.drain(observe); err != nil {
		return err
	}
	// A walk with holes says nothing about who is gone.
	if t.lostInRing() != before {
		return nil
	}
	t.sampler.blind = t.walk.blind
	t.sampler.sweep(monotonic(), fn)
	return nil
}

const (
	// frugalShare is the part of a CPU, one in so many, that sampling takes at most
	// when it is to be frugal.
	frugalShare = 100
	// rarest bounds how rarely it samples then.
	rarest = 2 * time.Second
)

// frugally is the time from one sample to the next when one takes so long.
func frugally(took time.Duration) time.Duration {
	return min(max(frugalShare*took, sampleEvery), rarest)
}

func (t *Tracer) lostInRing() uint64 {
	var kernel [tracingLossLOSS_KINDS]uint64
	if err := t.coll.Variables[tracingVarLosses].Get(&kernel); err != nil {
		return ^uint64(0)
	}
	return kernel[tracingLossLOSS_RING_FULL] + kernel[tracingLossLOSS_WALK_ENTRIES]
}

// observe takes in what a walk lists, and deaths since.
func (s *sampler) observe(e *event.Event) {
	switch e.Kind {
	case event.Listener:
		l := s.listeners[e.ListenerID]
		if l == nil {
			l = &sampled{}
			s.listeners[e.ListenerID] = l
		}
		l.round, l.netns, l.at, l.depth, l.cut = s.round, e.NetNS, e.Time, e.Depth, e.Flags&event.WalkCut != 0
	case event.Queued:
		if e.Queued == 0 {
			return // not ESTABLISHED yet: the next walk knows it by its time
		}
		id := connection{e.NetNS, e.Local, e.Peer, e.Queued}
		if e.Peer.Port() == 0 {
			id.peer = s.peerOf(id)
		}
		seen := s.queued[id]
		if seen == nil {
			seen = &sighting{}
			s.queued[id] = seen
		}
		seen.round, seen.event = s.round, *e
		seen.event.Peer = id.peer
	case event.CloseWait, event.Reset:
		if seen := s.queued[connection{e.NetNS, e.Local, e.Peer, e.Queued}]; seen != nil {
			seen.event.State = e.State
		}
	}
}

// peerOf finds the peer of a connection by when it was queued: the subflow of a
// reset MPTCP connection has forgotten it (__mptcp_close_ssk disconnects it,
// net/mptcp/protocol.c).
func (s *sampler) peerOf(id connection) netip.AddrPort {
	if s.peers == nil {
		s.peers = make(map[connection]netip.AddrPort, len(s.queued))
		for known := range s.queued {
			peer := known.peer
			known.peer = netip.AddrPort{}
			s.peers[known] = peer
		}
	}
	forgotten := id
	forgotten.peer = netip.AddrPort{}
	if peer, known := s.peers[forgotten]; known {
		return peer
	}
	return id.peer
}

// sweep finds what the walk that just ended no longer lists, and tells of it
// as accepted, or as purged with its listener: in the order in which it was
// queued, which is the order in which accept takes it.
func (s *sampler) sweep(now int64, fn func(*event.Event)) {
	var left []event.Event
	for id, seen := range s.queued {
		if seen.round == s.round || s.blind[id.netns] {
			continue
		}
		l := s.listeners[seen.event.ListenerID]
		if l != nil && l.round == s.round && l.cut {
			continue
		}
		delete(s.queued, id)
		if l != nil {
			left = append(left, seen.event)
		}
	}
	slices.SortFunc(left, func(a, b event.Event) int {
		return cmp.Or(cmp.Compare(a.Queued, b.Queued), cmp.Compare(a.DepthAtEntry, b.DepthAtEntry))
	})
	for i := range left {
		e := &left[i]
		l := s.listeners[e.ListenerID]
		e.Flags |= event.Sampled
		if l.round == s.round {
			e.Kind, e.Time, e.Depth = event.Accepted, l.at, l.depth
			l.countAccepted(e)
		} else {
			e.Kind, e.Time, e.Depth = event.Purged, now, 0
			l.countPurged(e)
		}
		fn(e)
	}
}

func (l *sampled) countAccepted(e *event.Event) {
	l.accepted++
	switch e.State {
	case event.CloseWaited:
		l.finished++
	case event.Close:
		l.reset++
	}
	l.last = e.Time
	if wait, known := e.Wait(); known {
		l.waits.Add(wait)
		l.maxWait = max(l.maxWait, wait)
	}
}

func (l *sampled) countPurged(e *event.Event) {
	l.purged++
	if e.State == event.CloseWaited || e.State == event.Close {
		l.dead++
	}
}

// fill adds what was sampled to the counts of the kernel.
func (s *sampler) fill(sample *listener.Sample) {
	for i := range sample.Listeners {
		c := &sample.Listeners[i]
		l := s.listeners[c.ID]
		if l == nil {
			continue
		}
		c.Accepted, c.AcceptedCloseWait, c.AcceptedReset = l.accepted, l.finished, l.reset
		c.Purged, c.PurgedDead = l.purged, l.dead
		c.LastAccept, c.MaxWait = l.last, int64(l.maxWait)
		c.Waits = l.waits.Clone()
		if c.Closed {
			delete(s.listeners, c.ID)
		}
	}
}
