package top

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// Bounds of what is kept of each listener.
const (
	mostAcceptors = 16
	mostRecent    = 16
	mostEntries   = 64
)

// place is what is known of the listeners at one address.
type place struct {
	name    listener.RowName
	l       ui.Listener
	taken   int64 // ns: l is as of
	changed int64 // ns: a count last did

	rate     float64 // accepted a second in the last interval; negative: not known
	interval listener.Waits
	partly   bool // of those accepted in the interval, some were not seen waiting: the quantiles are not known
	history  history

	acceptors  []acceptor
	others     acceptor // of which there were too many
	recent     []happening
	lastAccept ui.LastAccept // before the last stall
	diagnosis  *ui.Diagnosis

	entries []entry  // of the queue, as of the last walk, the first ones of each listener
	walked  int64    // ns: when that was
	walkOf  []uint64 // the listeners of which they are
}

// acceptor is a thread that accepts.
type acceptor struct {
	pid, tid uint32
	comm     event.Comm
	total    uint64
	fresh    uint64  // in this interval
	rate     float64 // a second, in the last one
	last     int64   // ns
}

// entry is a connection in the queue.
type entry struct {
	peer   netip.AddrPort
	queued int64 // ns; 0: not known
	unread uint32
	state  event.State
}

// happening is something worth to be told, and how often it happened so, one
// after the other.
type happening struct {
	line  ui.Line
	times int
	last  int64 // ns
}

// take takes the next state of the place; before is when there was one before
// of all places, in ns, or 0.
func (p *place) take(l *ui.Listener, at, before int64) {
	was := &p.l
	known := p.taken != 0
	p.rate, p.interval, p.partly = -1, listener.Waits{}, false
	now := point{depth: l.Depth}
	if before != 0 && at > before {
		seconds := time.Duration(at - before).Seconds()
		accepted := listener.Grown(l.Accepted, was.Accepted)
		p.rate = float64(accepted) / seconds
		switch {
		case l.Wait.Shared || was.Wait.Shared: // the waits are those of others too
		case !known:
			p.interval = l.Wait
		case l.Wait.Histogram != was.Wait.Histogram:
			p.interval = l.Wait.Since(&was.Wait)
		}
		if p.partly = l.Sampled && accepted > p.interval.Count; p.partly {
			p.interval.P50, p.interval.P90, p.interval.P99 = 0, 0, 0
		}
		if accepted > 0 {
			now.accepted = max(clamp(uint64(p.rate*10+0.5)), 1)
		}
		now.p50, now.p99, now.max = micros(p.interval.P50), micros(p.interval.P99), micros(p.interval.Max)
		for i := range p.acceptors {
			a := &p.acceptors[i]
			a.rate, a.fresh = float64(a.fresh)/seconds, 0
		}
		p.others.rate, p.others.fresh = float64(p.others.fresh)/seconds, 0
	}
	if !known || counted(l) != counted(was) || l.Open != was.Open {
		p.changed = at
	}
	p.history.add(now)
	p.l, p.taken = *l, at
	if p.l.Depth == 0 {
		p.entries, p.walkOf = p.entries[:0], p.walkOf[:0]
	}
}

// counted grows when anything happens.
func counted(l *ui.Listener) uint64 {
	return l.Enqueued + l.Accepted + l.Purged + l.CloseWait + l.Reset + l.Overflow() + l.Failed()
}

// micros is a wait in µs, 0 only if there was none.
func micros(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min(max(d.Microseconds(), 1), math.MaxUint32))
}

func (p *place) acceptedBy(l *ui.Line) {
	if l.PID == 0 {
		return
	}
	i := slices.IndexFunc(p.acceptors, func(a acceptor) bool { return a.pid == l.PID && a.tid == l.TID })
	a := &p.others
	switch {
	case i >= 0:
		a = &p.acceptors[i]
	case len(p.acceptors) < mostAcceptors:
		p.acceptors = append(p.acceptors, acceptor{pid: l.PID, tid: l.TID, comm: l.Comm})
		a = &p.acceptors[len(p.acceptors)-1]
	}
	a.total++
	a.fresh++
	a.last = max(a.last, l.Time)
}

// sooner is how soon the same must happen again to be told of together, in ns.
const sooner = int64(10 * time.Second)

func (p *place) remember(l *ui.Line) {
	for i := range p.recent {
		h := &p.recent[i]
		if h.line.Kind == l.Kind && h.line.Flags == l.Flags && h.line.Errno == l.Errno && h.line.PID == l.PID && l.Time-h.last < sooner {
			h.times++
			h.last = max(h.last, l.Time)
			return
		}
	}
	if len(p.recent) == mostRecent {
		p.recent = p.recent[:copy(p.recent, p.recent[1:])]
	}
	kept := *l
	e := *l.Event
	kept.Event = &e
	p.recent = append(p.recent, happening{kept, 1, l.Time})
}

func (p *place) beginWalk(e *event.Event) {
	again := slices.Contains(p.walkOf, e.ListenerID)
	if again || len(p.walkOf) > p.l.Open {
		p.entries, p.walkOf = p.entries[:0], p.walkOf[:0]
	}
	p.walkOf = append(p.walkOf, e.ListenerID)
	p.walked = e.Time
}

func (p *place) entry(e *event.Event) {
	if len(p.entries) < mostEntries {
		p.entries = append(p.entries, entry{e.Peer, e.Queued, e.Unread, e.State})
	}
}

// changes tells the entries of what happened to one of them.
func (p *place) changes(l *ui.Line) {
	i := slices.IndexFunc(p.entries, func(e entry) bool { return e.queued == l.Queued && e.peer == l.Peer })
	if i < 0 {
		return
	}
	switch l.Kind {
	case event.Accepted, event.Purged:
		p.entries = slices.Delete(p.entries, i, i+1)
	case event.CloseWait, event.Reset:
		p.entries[i].state = l.State
	}
}

// has says whether a socket is one of the listeners.
func (p *place) has(inode uint32) bool {
	return p.l.Inode == inode || slices.ContainsFunc(p.l.Members, func(r listener.Row) bool { return r.Inode == inode })
}

// queue is the entries with the oldest first, which are as many as are known.
func (p *place) queue() []entry {
	list := slices.Clone(p.entries)
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.queued, b.queued) })
	return list[:min(len(list), int(p.l.Depth))]
}

// address is where the listeners are bound.
func (p *place) address() string {
	if p.name.Other {
		return "closed listeners"
	}
	a := p.name.Key.Addr
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// fill is how full the queue is; more than 1 when it is over its limit.
func (p *place) fill() float64 {
	return float64(p.l.Depth) / float64(uint64(p.l.Backlog)+uint64(max(p.l.Open, 1)))
}

// oldest is how long the first entry of the queue has waited; 0: not known, or
// there is none.
func (p *place) oldest() time.Duration {
	age, known := p.l.Oldest()
	if p.l.Depth == 0 || !known {
		return 0
	}
	return age
}

func (p *place) stalled() bool { return p.l.StalledSince != 0 }
