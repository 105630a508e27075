package top

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// About is what a source says of itself.
type About struct {
	Mode     string   // "fentry"
	Limits   []string // what it cannot see, a sentence each
	Filter   string   // what is selected, in words
	NetNS    uint32   // inode of the tracer's own network namespace; 0: not known
	Refusals bool     // refused connections and failed accepts are counted
	Origin   string   // of a recording, where and when it was made; empty: it is live
	// Wall is the time of day at a time of CLOCK_MONOTONIC, in ns.
	Wall func(ns int64) time.Time
}

// State is everything at one moment.
type State struct {
	Time      int64         // ns, CLOCK_MONOTONIC
	Listeners []ui.Listener // the worst first
	Losses    []listener.Loss
}

// board is what is known of all listeners.
type board struct {
	about  About
	at     int64 // ns: of the last state; 0: there was none
	before int64 // ns: of the one before
	first  int64 // ns: of the first one
	states int   // that there were
	losses []listener.Loss
	places []*place // the worst first
	byName map[listener.RowName]*place
	walked *place // whose entries come now; nil: of nobody
	walkID uint64
}

func newBoard(about About) *board {
	return &board{about: about, byName: make(map[listener.RowName]*place)}
}

// clone is a copy that stands still while the board goes on.
func (b *board) clone() *board {
	c := *b
	c.walked = nil
	c.places = make([]*place, len(b.places))
	c.byName = make(map[listener.RowName]*place, len(b.byName))
	for i, p := range b.places {
		still := *p
		still.history.points = slices.Clone(p.history.points)
		still.acceptors = slices.Clone(p.acceptors)
		still.recent = slices.Clone(p.recent)
		still.entries = slices.Clone(p.entries)
		c.places[i] = &still
		c.byName[still.name] = &still
	}
	return &c
}

// lingers is how long a closed listener stays on the screen after something
// happened to it, in ns.
const lingers = int64(10 * time.Second)

// take takes the next state.
func (b *board) take(s *State) {
	b.before, b.at = b.at, s.Time
	if b.states++; b.states == 1 {
		b.first = s.Time
	}
	b.losses = s.Losses
	b.places = b.places[:0]
	for i := range s.Listeners {
		l := &s.Listeners[i]
		name := listener.NameOf(&l.Row)
		p := b.byName[name]
		if p == nil {
			p = &place{name: name}
			b.byName[name] = p
		}
		p.take(l, s.Time, b.before)
		b.places = append(b.places, p)
	}
	maps.DeleteFunc(b.byName, func(_ listener.RowName, p *place) bool { return p.l.Time == 0 || p.taken != s.Time })
	b.places = slices.DeleteFunc(b.places, func(p *place) bool {
		return p.l.Open == 0 && s.Time-p.changed >= lingers
	})
	slices.SortStableFunc(b.places, func(a, b *place) int { return cmp.Compare(one(a.l.Open == 0), one(b.l.Open == 0)) })
}

// span is how long a whole history reaches back, about.
func (b *board) span() time.Duration {
	if b.states < 2 {
		return 0
	}
	return (time.Duration(b.at-b.first) * historyPoints / time.Duration(b.states-1)).Round(time.Second)
}

// placeAt is the place of a bound address.
func (b *board) placeAt(netns uint32, bound netip.AddrPort, ifindex uint32) *place {
	key := listener.Key{NetNS: netns, Addr: netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port()), Ifindex: ifindex}
	return b.byName[listener.RowName{Key: key}]
}

// happened takes an event.
func (b *board) happened(l *ui.Line) {
	if !l.Listener.IsValid() {
		return
	}
	p := b.placeAt(l.NetNS, l.Listener, l.Ifindex)
	if p == nil {
		return
	}
	p.changes(l)
	if l.Kind == event.Accepted {
		p.acceptedBy(l)
	}
	if l.Kind == event.StallEnd || l.Problem() {
		p.remember(l)
	}
	if l.Kind == event.Stall {
		p.lastAccept = l.LastAccept
		p.diagnosis = nil // of another stall
	}
}

// diagnosed takes why nothing is accepted at a listener. Evidence tells of no device
// that this is bound to: what tells listeners apart that have the same address is
// the socket.
func (b *board) diagnosed(d *ui.Diagnosis) {
	e := d.Evidence
	bound, err := netip.ParseAddrPort(e.Listener)
	if err != nil {
		return
	}
	bound = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	var there []*place
	for name, p := range b.byName {
		if name.Other || name.Key.NetNS != e.NetNS || name.Key.Addr != bound {
			continue
		}
		if e.Inode != 0 && p.has(e.Inode) {
			there = []*place{p}
			break
		}
		there = append(there, p)
	}
	for _, p := range there {
		p.diagnosis = d
	}
}

// walk takes what a walk of the queues finds.
func (b *board) walk(e *event.Event) {
	if e.Kind == event.Listener {
		b.walked, b.walkID = nil, e.ListenerID
		if e.Depth > 0 {
			b.walked = b.placeAt(e.NetNS, e.Local, e.Ifindex)
		}
		if b.walked != nil {
			b.walked.beginWalk(e)
		}
		return
	}
	if b.walked != nil && b.walkID == e.ListenerID {
		b.walked.entry(e)
	}
}
