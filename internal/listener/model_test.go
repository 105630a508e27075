package listener

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"acceptwatch/internal/event"
)

// model is a host with listeners, and the truth about their queues. It makes
// the events and the samples that the kernel would.
type model struct {
	t      *testing.T
	r      *rand.Rand
	now    int64
	table  *Table
	open   []*truth
	all    []*truth  // but those closed that were told of
	ever   []*queued // all connections
	peers  uint16
	nextID uint64

	attached bool
	dropped  float64 // part of the events that get lost
	deaths   bool    // only those of deaths do
	late     int     // events by which one may come too late
	ring     []event.Event
	at       map[netip.Addr]*AtAddress
	failed   []AcceptError

	lines   map[string]int // deaths shown, by connection
	stalled map[uint64]bool
}

type truth struct {
	Counted
	queue  []*queued
	attach uint64

	fullSince int64 // ns; 0: not full
}

type queued struct {
	local, peer netip.AddrPort
	at          int64
	state       event.State
	deadAt      int64      // before attach: 0
	left        event.Kind // 0: still queued
}

func (q *queued) String() string { return fmt.Sprintf("%v-%v@%d", q.local, q.peer, q.at) }

func (m *model) listen(addr string) {
	m.nextID++
	l := &truth{Counted: Counted{ID: m.nextID, Key: key(addr), Family: 2, Backlog: 20, Inode: uint32(1000 + m.nextID)}}
	if l.Key.Addr.Addr().Is6() {
		l.Family = 10
	}
	m.open, m.all = append(m.open, l), append(m.all, l)
}

// send puts an event into the ring, or loses it.
func (m *model) send(e event.Event) {
	death := e.Kind == event.CloseWait || e.Kind == event.Reset
	if !m.attached || m.r.Float64() < m.dropped && (death || !m.deaths) {
		return
	}
	m.ring = append(m.ring, e)
	if n := len(m.ring); m.late > 0 && n > m.late && e.Kind != event.Listener {
		i := n - 1 - m.r.IntN(m.late)
		m.ring[n-1], m.ring[i] = m.ring[i], m.ring[n-1]
	}
}

func (m *model) event(kind event.Kind, q *queued) event.Event {
	return event.Event{Kind: kind, Time: m.now, Queued: q.at, Local: q.local, Peer: q.peer, NetNS: netns, Family: 2, State: q.state}
}

func (m *model) enqueue(l *truth) {
	m.peers++
	local := l.Key.Addr
	if local.Addr().IsUnspecified() {
		local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + m.r.IntN(2))}), local.Port())
	}
	q := &queued{local: local, peer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, 1}), m.peers), at: m.now / 1000 * 1000, state: event.Established}
	m.put(l, q)
	m.ever = append(m.ever, q)
	if m.attached {
		l.Enqueued++
	} else {
		l.attach++
	}
}

// put appends to the queue of a listener.
func (m *model) put(l *truth, q *queued) {
	if l.queue = append(l.queue, q); len(l.queue) == 1 && m.attached {
		l.NonEmptySince = m.now
	}
	m.changed(l)
}

// changed follows the depth.
func (m *model) changed(l *truth) {
	l.Depth = uint32(len(l.queue))
	l.MaxDepth = max(l.MaxDepth, l.Depth)
	switch full := l.Depth > l.Backlog; {
	case full && l.fullSince == 0:
		l.fullSince = m.now
	case !full && l.fullSince != 0:
		l.Full += time.Duration(m.now - l.fullSince)
		l.fullSince = 0
	}
}

// counted is what a sample says of a listener.
func (m *model) counted(l *truth) Counted {
	c := l.Counted
	if l.fullSince != 0 {
		c.Full += time.Duration(m.now - l.fullSince)
	}
	return c
}

// refuse is what happens to who comes when the queue is full.
func (m *model) refuse(l *truth) {
	e := event.Event{Kind: event.Overflow, Time: m.now, ListenerID: l.ID, NetNS: netns, Local: l.Key.Addr,
		Family: l.Family, Depth: l.Depth, Backlog: l.Backlog}
	if m.r.IntN(3) == 0 {
		e.Flags = event.LastACK
		l.OverflowACK++
	} else {
		l.OverflowSYN++
	}
	m.send(e)
}

// fail is a failed accept(), of which the listener, or its address, or nothing
// is known.
func (m *model) fail(l *truth) {
	a := AcceptError{PID: uint32(1 + m.r.IntN(3)), Errno: uint16(23 + m.r.IntN(2)), Last: m.now}
	switch m.r.IntN(3) {
	case 0:
		a.ListenerID, a.Key, a.Inode = l.ID, l.Key, l.Inode
	case 1:
		a.Key = l.Key
	}
	m.send(event.Event{Kind: event.AcceptError, Time: m.now, ListenerID: a.ListenerID, Local: a.Key.Addr, NetNS: a.Key.NetNS,
		PID: a.PID, Errno: a.Errno, Repeats: 1})
	i := slices.IndexFunc(m.failed, func(o AcceptError) bool {
		o.Count, o.Last = 0, a.Last
		return o == a
	})
	if i < 0 {
		i = len(m.failed)
		m.failed = append(m.failed, a)
	}
	m.failed[i].Count++
	m.failed[i].Last = m.now
}

func (m *model) die(l *truth) {
	q := l.queue[m.r.IntN(len(l.queue))]
	reset := m.r.IntN(3) == 0
	if q.state == event.Close || q.state == event.CloseWaited && !reset {
		return
	}
	a := m.at[q.local.Addr()]
	if a == nil {
		a = &AtAddress{}
		m.at[q.local.Addr()] = a
	}
	a.Key = Key{NetNS: netns, Addr: q.local}
	was := q.state
	var e event.Event
	if reset {
		q.state = event.Close
		e = m.event(event.Reset, q)
		if was == event.CloseWaited {
			e.Flags = event.AfterFIN
		}
	} else {
		q.state = event.CloseWaited
		e = m.event(event.CloseWait, q)
	}
	if !m.attached {
		return
	}
	q.deadAt = m.now
	if reset {
		a.Reset++
		if was == event.CloseWaited {
			a.ResetAfterFIN++
		}
	} else {
		a.CloseWait++
	}
	m.send(e)
}

func (m *model) leave(l *truth, kind event.Kind) {
	q := l.queue[0]
	q.left = kind
	l.queue = l.queue[1:]
	m.changed(l)
	dead := q.state.Dead()
	e := m.event(kind, q)
	e.ListenerID, e.Depth, e.Backlog = l.ID, l.Depth, l.Backlog
	if kind == event.Purged {
		e.State = event.Close
		l.Purged++
		if dead {
			l.PurgedDead++
		}
	} else {
		l.Accepted++
		l.LastAccept = m.now
		if q.state == event.CloseWaited {
			l.AcceptedCloseWait++
		} else if dead {
			l.AcceptedReset++
		}
	}
	m.send(e)
}

func (m *model) walk() {
	for _, l := range m.open {
		m.send(event.Event{Kind: event.Listener, Time: m.now, ListenerID: l.ID, NetNS: netns, Local: l.Key.Addr,
			Family: l.Family, Depth: l.Depth, Backlog: l.Backlog, State: event.Listening})
		for _, q := range l.queue {
			e := m.event(event.Queued, q)
			e.ListenerID, e.Depth, e.Backlog = l.ID, l.Depth, l.Backlog
			m.send(e)
		}
	}
}

func (m *model) close(i int) {
	l := m.open[i]
	heir := slices.IndexFunc(m.open, func(o *truth) bool { return o != l && o.Key == l.Key })
	if heir >= 0 && m.r.IntN(2) == 0 { // net.ipv4.tcp_migrate_req
		for _, q := range l.queue {
			l.MigratedOut++
			m.open[heir].MigratedIn++
			m.put(m.open[heir], q)
		}
		l.queue = nil
		m.changed(l)
	}
	for len(l.queue) > 0 {
		m.leave(l, event.Purged)
	}
	l.Closed = true
	m.open = slices.Delete(m.open, i, i+1)
	m.send(event.Event{Kind: event.ListenerClosed, Time: m.now, ListenerID: l.ID})
}

// drain hands the ring over, but for events that may still come late.
func (m *model) drain(all bool) {
	n := len(m.ring)
	if !all {
		n = max(0, n-m.late)
	}
	for i := range m.ring[:n] {
		e := m.ring[i]
		if m.table.Apply(&e, m.emitted) && (e.Kind == event.CloseWait || e.Kind == event.Reset) {
			m.shown(&e)
		}
	}
	m.ring = slices.Delete(m.ring, 0, n)
}

func (m *model) shown(e *event.Event) {
	m.lines[fmt.Sprintf("%s %v-%v@%d", e.Kind, e.Local, e.Peer, e.Queued)]++
}

func (m *model) emitted(e *event.Event) {
	if wait, known := e.Wait(); wait < 0 || !known {
		m.t.Errorf("%s: waited %v, %v", e.Kind, wait, known)
	}
	switch e.Kind {
	case event.CloseWait, event.Reset:
		if e.Flags&event.Recovered == 0 {
			m.t.Errorf("derived, but not recovered: %+v", e)
		}
		m.shown(e)
	case event.Stall:
		if m.stalled[e.ListenerID] || e.Depth == 0 {
			m.t.Errorf("stalled twice, or nobody waits: %+v", e)
		}
		m.stalled[e.ListenerID] = true
	case event.StallEnd:
		if !m.stalled[e.ListenerID] || e.Ended == event.NotEnded {
			m.t.Errorf("ended without a stall, or by nothing: %+v", e)
		}
		m.stalled[e.ListenerID] = false
	default:
		m.t.Errorf("derived %+v", e)
	}
}

func (m *model) sample() {
	s := &Sample{Time: m.now}
	for _, l := range m.all {
		s.Listeners = append(s.Listeners, m.counted(l))
	}
	m.all = slices.Clone(m.open) // the closed ones are told of once
	for _, a := range m.at {
		s.Addresses = append(s.Addresses, *a)
	}
	s.AcceptErrors = m.failed
	m.table.Update(s, m.emitted)
}

func (m *model) step() {
	m.now += m.r.Int64N(20 * ms)
	if len(m.open) == 0 {
		return
	}
	i := m.r.IntN(len(m.open))
	l := m.open[i]
	switch p := m.r.IntN(100); {
	case p < 40:
		if l.Depth <= l.Backlog {
			m.enqueue(l)
		} else if m.attached {
			m.refuse(l)
		}
	case p < 60:
		if len(l.queue) > 0 {
			m.die(l)
		}
	case p < 90:
		if len(l.queue) > 0 && m.now/(3*second)%2 == 0 { // it stops now and then
			m.leave(l, event.Accepted)
		}
	case p < 92 && m.attached:
		m.walk()
	case p < 93 && m.attached && len(m.open) > 3:
		m.close(i)
		m.listen(l.Key.Addr.String())
	case p < 98 && m.attached:
		m.drain(false)
		m.sample()
	case p < 99 && m.attached:
		m.fail(l)
	}
}
