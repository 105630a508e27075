package report

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// Bounds of what is kept.
const (
	maxPlaces   = 2048 // bound addresses with a timeline
	maxQueues   = 1 << 16
	mostStalls  = 500
	mostLongest = 50
	mostWhy     = 200 // diagnoses
	mostDamage  = 16
	maxClocks   = 4096
	maxInodes   = 1 << 16
)

// place is what is collected of one bound address.
type place struct {
	key            listener.Key
	depth, backlog uint32 // sums over its queues
	series         series
	patience       patience
	recorded       uint64 // accepted
	// Counts of events, and what they were at the last accept.
	dead, overflow, deadThen, overflowThen uint64
}

// queue is one listener.
type queue struct {
	place          *place // nil: there were too many
	depth, backlog uint32
	at             int64 // ns: of depth
	last           Who   // acceptor
	stall          *Stall
}

// collector makes a Report of records.
type collector struct {
	report  Report
	table   *listener.Table
	axis    axis
	begun   bool
	emit    func(*event.Event)
	places  map[listener.Key]*place
	queues  map[uint64]*queue
	lastID  uint64
	lastQ   *queue
	crowded uint64 // events at places that have no timeline

	total          series
	depth, backlog uint32 // sums over all queues
	patience       patience

	owners map[uint32][]recording.Owner
	held   map[listener.Key][]recording.Held
	lost   []listener.Loss // on the way to the file
	more   bool            // the owners of a moment are not all in yet
	listed map[uint32]bool // the inodes of owners that are, of this moment
}

func newCollector(h *recording.Header, o Options) *collector {
	c := &collector{
		places: make(map[listener.Key]*place),
		queues: make(map[uint64]*queue),
		owners: make(map[uint32][]recording.Owner),
		held:   make(map[listener.Key][]recording.Held),
		listed: make(map[uint32]bool),
	}
	if h != nil {
		c.report.Header = *h
	}
	c.report.StallAfter = o.StallAfter
	if c.report.StallAfter <= 0 {
		c.report.StallAfter = time.Second
		if set, err := time.ParseDuration(c.report.Header.Settings["stall-after"]); err == nil && set > 0 {
			c.report.StallAfter = set
		}
	}
	c.clock(c.report.Header.Clock)
	c.table = listener.New(listener.Options{StallAfter: c.report.StallAfter, Start: c.report.Header.Start})
	c.emit = c.derived
	return c
}

// clock notes a reading of the clocks, if it says something new: a drift of
// less than a millisecond is none.
func (c *collector) clock(at recording.Clock) {
	all := c.report.Clocks
	if len(all) > 0 {
		was := all[len(all)-1]
		off := at.Wall - at.Monotonic - (was.Wall - was.Monotonic)
		if max(off, -off) < int64(time.Millisecond) || len(all) >= maxClocks {
			return
		}
	}
	c.report.Clocks = append(all, at)
}

// see notes a time and gives its column.
func (c *collector) see(at int64) int {
	if !c.begun {
		c.begun = true
		c.axis = newAxis(at)
		c.report.Start, c.report.End = at, at
	}
	c.report.End = max(c.report.End, at)
	if factor := c.axis.widen(at); factor > 1 {
		c.total.merge(factor)
		for _, p := range c.places {
			p.series.merge(factor)
		}
	}
	return c.axis.at(at)
}

func (c *collector) take(rec *recording.Record) {
	switch rec.Kind {
	case recording.KindEvent:
		c.event(rec.Event)
	case recording.KindSample:
		c.sample(rec.Sample)
	case recording.KindMark:
		c.see(rec.Mark.Time)
	case recording.KindClock:
		c.clock(rec.Clock)
	case recording.KindOwners:
		c.owned(rec.Owners)
	case recording.KindEvidence:
		c.diagnosed(rec.Evidence)
	case recording.KindLosses:
		c.lost = rec.Losses
	case recording.KindDamage:
		f := &c.report.Flaws
		if f.Damages++; len(f.Damage) < mostDamage {
			f.Damage = append(f.Damage, rec.Damage)
		}
	}
}

func (c *collector) event(e *event.Event) {
	column := c.see(e.Time)
	if !c.table.Apply(e, c.emit) {
		return
	}
	if e.Kind != event.Listener && e.Kind != event.Queued {
		c.report.Events++
	}
	switch e.Kind {
	case event.Accepted:
		c.accepted(e, column)
	case event.CloseWait, event.Reset:
		c.died(e, column)
	case event.Purged:
		q := c.queueOf(e)
		c.setDepth(q, e, column)
		c.count(q.place, column, func(col *Column) { col.Purged++ })
		c.waited(q, e)
	case event.Overflow:
		q := c.queueOf(e)
		c.setDepth(q, e, column)
		if q.place != nil {
			q.place.overflow++
		}
		c.count(q.place, column, func(col *Column) { col.Overflow++ })
	case event.AcceptError:
		q := c.queueOf(e)
		if q.stall != nil {
			q.stall.Failed += uint64(e.Repeats)
		}
		c.count(q.place, column, func(col *Column) { col.Failed += uint64(e.Repeats) })
	case event.Listener:
		c.setDepth(c.queueOf(e), e, column)
	case event.ListenerClosed:
		q := c.queueOf(e)
		c.set(q, 0, 0, column)
		q.at = e.Time
	}
}

// count changes the column of a place, which may be nil, and that of all.
func (c *collector) count(p *place, column int, change func(*Column)) {
	change(c.total.to(column))
	if p != nil {
		change(p.series.to(column))
	} else {
		c.crowded++
	}
}

func (c *collector) accepted(e *event.Event, column int) {
	q := c.queueOf(e)
	if e.Flags&event.ExitUnseen == 0 && e.ListenerID != 0 {
		c.setDepth(q, e, column)
	}
	if e.PID != 0 {
		q.last = Who{e.PID, e.TID, e.Comm}
	}
	wait, known := e.Wait()
	all := c.total.to(column)
	all.Accepted++
	if known {
		all.Waits.add(wait)
		c.waited(q, e)
	}
	p := q.place
	if p == nil {
		c.crowded++
		return
	}
	p.recorded++
	p.deadThen, p.overflowThen = p.dead, p.overflow
	own := p.series.to(column)
	own.Accepted++
	if known {
		own.Waits.add(wait)
	}
}

// died takes a client that gave up. One whose FIN came before its RST has done
// so by the former.
func (c *collector) died(e *event.Event, column int) {
	if e.Kind == event.Reset && e.Flags&event.AfterFIN != 0 {
		return
	}
	q := c.queueOf(e)
	c.count(q.place, column, func(col *Column) { col.Dead++ })
	if q.place != nil {
		q.place.dead++
		q.place.patience.note(e)
	}
	c.patience.note(e)
}

func (p *patience) note(e *event.Event) {
	wait, known := e.Wait()
	switch {
	case e.Kind == event.Reset && unix.Errno(e.Errno) == unix.ETIMEDOUT:
		p.vanished++
	case e.Flags&event.Recovered != 0 || !known:
		p.late++
	default:
		p.add(wait)
	}
}

// waited keeps a connection that left its queue if few waited longer.
func (c *collector) waited(q *queue, e *event.Event) {
	wait, known := e.Wait()
	list := c.report.Longest
	if !known || len(list) >= mostLongest && wait <= list[mostLongest-1].Length {
		return
	}
	w := Wait{Event: *e, Length: wait}
	if q.place != nil {
		w.Listener = q.place.key
	}
	if list = append(list, w); len(list) >= 4*mostLongest || len(list) == mostLongest {
		slices.SortFunc(list, longerWait)
		list = list[:mostLongest]
	}
	c.report.Longest = list
}

// queueOf is the queue of an event. Of one whose listener is not known, it is
// one that nobody else refers to.
func (c *collector) queueOf(e *event.Event) *queue {
	if e.ListenerID != 0 && e.ListenerID == c.lastID {
		return c.lastQ
	}
	if q := c.queues[e.ListenerID]; q != nil && e.ListenerID != 0 {
		c.lastID, c.lastQ = e.ListenerID, q
		return q
	}
	at, ok := c.table.Resolve(e)
	if !ok {
		return &queue{}
	}
	if at.ID == 0 {
		return &queue{place: c.placeOf(at.Key)}
	}
	return c.queueFor(at.ID, at.Key)
}

func (c *collector) queueFor(id uint64, key listener.Key) *queue {
	q := c.queues[id]
	if q == nil {
		if len(c.queues) >= maxQueues {
			c.forgetClosed()
		}
		q = &queue{place: c.placeOf(key)}
		c.queues[id] = q
	}
	c.lastID, c.lastQ = id, q
	return q
}

// forgetClosed makes room: what has no limit is closed.
func (c *collector) forgetClosed() {
	for id, q := range c.queues {
		if q.backlog == 0 && q.depth == 0 && q.stall == nil {
			delete(c.queues, id)
		}
	}
	c.lastID, c.lastQ = 0, nil
}

// placeOf is nil if there are too many.
func (c *collector) placeOf(key listener.Key) *place {
	p := c.places[key]
	if p == nil && len(c.places) < maxPlaces {
		p = &place{key: key}
		c.places[key] = p
	}
	return p
}

// setDepth takes the depth that an event tells of, unless a later one is known.
func (c *collector) setDepth(q *queue, e *event.Event, column int) {
	if e.Time < q.at || !e.DepthKnown() {
		return
	}
	q.at = e.Time
	c.set(q, e.Depth, e.Backlog, column)
}

func (c *collector) set(q *queue, depth, backlog uint32, column int) {
	if depth == q.depth && backlog == q.backlog {
		return // many are empty, always
	}
	if p := q.place; p != nil {
		p.depth += depth - q.depth
		p.backlog += backlog - q.backlog
	}
	c.depth += depth - q.depth
	c.backlog += backlog - q.backlog
	q.depth, q.backlog = depth, backlog
	if q.stall != nil && depth > q.stall.Depth {
		q.stall.Depth, q.stall.Backlog = depth, backlog
	}
	c.total.set(column, c.depth, c.backlog)
	if p := q.place; p != nil && (p.depth > 0 || len(p.series.columns) > 0) {
		p.series.set(column, p.depth, p.backlog)
		p.series.columns[column].full(depth, backlog)
	}
}

// sample brings the depths up to date with what the kernel and the walks say.
func (c *collector) sample(s *listener.Sample) {
	column := c.see(s.Time)
	c.table.Update(s, c.emit)
	for i := range s.Listeners {
		n := &s.Listeners[i]
		if n.ID == 0 || n.Closed {
			continue
		}
		at, ok := c.table.Resolve(&event.Event{ListenerID: n.ID})
		if !ok || at.Depth == 0 && at.Backlog == 0 {
			continue
		}
		if q := c.queueFor(n.ID, at.Key); at.Depth != q.depth || at.Backlog != q.backlog {
			q.at = s.Time
			c.set(q, at.Depth, at.Backlog, column)
		}
	}
}

// derived takes what the table makes of the events: deaths that were missed,
// and stalls.
func (c *collector) derived(e *event.Event) {
	column := c.see(e.Time)
	switch e.Kind {
	case event.CloseWait, event.Reset:
		c.report.Events++
		c.died(e, column)
	case event.Stall:
		q := c.queueOf(e)
		s := &Stall{ID: e.ListenerID, From: e.Queued, Before: q.last, Depth: e.Depth, Backlog: e.Backlog,
			Errno: e.Errno, Failed: uint64(e.Repeats), Failing: Who{PID: e.PID, Comm: e.Comm}}
		if p := q.place; p != nil {
			s.Key, s.Dead, s.Overflow = p.key, -p.deadThen, -p.overflowThen
		}
		q.stall = s
	case event.StallEnd:
		if q := c.queueOf(e); q.stall != nil {
			c.endStall(q, e.Time, e.Ended, Who{e.PID, e.TID, e.Comm})
		}
	}
}

// endStall keeps a stall, if few were longer, and marks it in the columns.
func (c *collector) endStall(q *queue, at int64, how event.Ending, by Who) {
	s := q.stall
	q.stall = nil
	s.To, s.Ended, s.By = at, how, by
	if p := q.place; p != nil {
		s.Dead += p.dead
		s.Overflow += p.overflow
		c.mark(&p.series, s)
	}
	c.mark(&c.total, s)
	c.report.StallCount++
	if list := append(c.report.Stalls, *s); len(list) < 4*mostStalls {
		c.report.Stalls = list
	} else {
		slices.SortFunc(list, longerStall)
		c.report.Stalls = list[:mostStalls]
	}
}

func (c *collector) mark(to *series, s *Stall) {
	to.to(c.axis.at(s.To))
	for i := c.axis.at(s.From); i <= c.axis.at(s.To); i++ {
		to.columns[i].Stalls++
	}
}

// owned takes who had what open.
func (c *collector) owned(o *recording.Owners) {
	c.see(o.Time)
	if !c.more {
		clear(c.listed)
		c.report.Notes = nil
	}
	for _, p := range o.Listening {
		_, known := c.owners[p.Inode]
		if p.Inode == 0 || !known && len(c.owners) >= maxInodes {
			continue
		}
		if !c.listed[p.Inode] { // who held it before may not any more
			c.listed[p.Inode] = true
			c.owners[p.Inode] = nil
		}
		c.owners[p.Inode] = append(c.owners[p.Inode], p)
	}
	if o.HeldKnown {
		if !c.more {
			clear(c.held)
		}
		c.report.HeldKnown = true
		for _, h := range o.Held {
			if key, ok := c.placeOfHeld(&h); ok {
				c.held[key] = append(c.held[key], h)
			}
		}
	}
	c.more = o.More
	if o.More {
		return
	}
	c.report.Notes = append(c.report.Notes, o.Missing...)
	if s := o.Scan; s != nil && s.Denied+s.Failed > 0 {
		c.report.Notes = append(c.report.Notes, fmt.Sprintf("owners may be missing: %d of %d processes could not be inspected",
			s.Denied+s.Failed, s.Processes))
	}
}

// diagnosed takes the evidence of a stall that goes on, or was over by then.
func (c *collector) diagnosed(e *diagnose.Evidence) {
	if len(c.report.Diagnoses) >= mostWhy {
		return
	}
	d := Diagnosis{e, diagnose.Judge(e)}
	c.report.Diagnoses = append(c.report.Diagnoses, d)
	bound, err := netip.ParseAddrPort(e.Listener)
	if err != nil {
		return
	}
	for _, q := range c.queues {
		if s := q.stall; s != nil && s.Key.Addr == bound && s.Key.NetNS == e.NetNS && d.Verdicts[0].Names() {
			s.Diagnosis = &d
		}
	}
}

// placeOfHeld is the bound address that an accepted connection came to.
func (c *collector) placeOfHeld(h *recording.Held) (listener.Key, bool) {
	local, err := netip.ParseAddrPort(h.Local)
	if err != nil {
		return listener.Key{}, false
	}
	at, ok := c.table.Resolve(&event.Event{NetNS: h.NetNS, Local: local, Ifindex: h.Ifindex})
	return at.Key, ok
}
