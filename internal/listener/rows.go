package listener

import (
	"cmp"
	"slices"
	"time"
)

// Row is one bound address: the listeners that are open on it now, and the sum
// of those that were. Counts are in connections, since counting began. What is
// not known is 0 and said not to be known by the field next to it.
type Row struct {
	Key    Key
	Other  bool   // all that has no row of its own, because there were too many; Key is zero
	ID     uint64 // of the listener; 0: none is open, or several are
	Family uint8  // of the last listener; 0: none was ever known
	V6Only bool
	Inode  uint32 // of the listening socket, if none is open of the last one; 0: not known, or several
	Open   int    // listeners that are open
	Closed uint64 // listeners that were closed
	// Members are the open listeners if there are several (SO_REUSEPORT).
	// Deaths belong to their row only; in each of them they are 0.
	Members []Row

	Time         int64  // ns, CLOCK_MONOTONIC: the row is as of
	Depth        uint32 // entries in the queue, or queues
	Backlog      uint32 // limit of the queue, or the sum of limits
	OldestQueued int64  // ns: the entry at the head entered the queue; 0: not known, or none

	Enqueued      uint64
	Accepted      uint64
	AcceptedDead  uint64 // of Accepted: were in CLOSE_WAIT or CLOSE
	CloseWait     uint64 // reached CLOSE_WAIT before accept
	Reset         uint64 // reached CLOSE before accept, after FIN too
	ResetAfterFIN uint64 // of Reset: had been in CLOSE_WAIT
	Purged        uint64
	PurgedDead    uint64 // of Purged: were in CLOSE_WAIT or CLOSE
	MigratedIn    uint64 // came from a listener of the group when it closed: their waits go on
	MigratedOut   uint64 // left for another listener of the group when theirs closed

	// Refused because the queue was full. What a client sends again counts
	// again.
	OverflowSYN  uint64 // at the SYN, which was dropped
	OverflowACK  uint64 // at the last ACK: the client believes that it is connected
	LastOverflow int64  // ns: noticed; 0: none

	MaxDepth        uint32        // the greatest depth of one queue
	MaxDepthBacklog uint32        // the limit of that queue
	MaxDepthUnknown bool          // of a part in which it was no deeper than before: both are 0
	Full            time.Duration // with more entries than the backlog, the sum over queues

	AcceptErrors []AcceptFailures // the most failures first

	Wait   Waits
	Folded bool // some waits are in a histogram shared with other rows: Wait is it, if there is no other

	Unaccepted Unaccepted
	LastAccept int64 // ns; 0: none seen

	StalledSince int64 // ns: of the longest stall that goes on; 0: not stalled
	Stalls       uint64
	Stalled      time.Duration // in all stalls, up to Time

	QueuedAtAttach uint64 // in the queue when counting began
	DeadAtAttach   uint64 // of QueuedAtAttach: were dead when first looked at
	AttachKnown    bool   // whether QueuedAtAttach is
	Lost           uint64 // that the books miss: the size of Imbalance

	// Sampled says that accept() was not watched (Options.Sampled). Accepted is then
	// how many entered the queue and were not there any more at the last look, and
	// nothing is Lost; Wait is of those that were Seen, which waited the longest.
	Sampled bool
	Seen    uint64 // of Accepted: a look at the queue had caught them waiting
	AtLeast bool   // there may be more than Accepted: Enqueued lacks those by MPTCP, or a listener was closed
}

// Waits are the waits of accepted connections.
type Waits struct {
	Count         uint64 // that the quantiles are of
	P50, P90, P99 time.Duration
	Max           time.Duration // exact; 0: none accepted
	Histogram     *Histogram    // to read only; nil: not asked for
	Shared        bool          // the histogram is the one that all rows share which are Folded and have no other
}

// Unaccepted is what is in a queue.
type Unaccepted struct {
	Known       bool  // a walk has looked
	Walked      int64 // ns: of the last walk, the oldest one of a group
	Established uint32
	CloseWait   uint32 // known even if no walk has looked
	Close       uint32 // known even if no walk has looked
	SynRecv     uint32
	NotLooked   uint32 // the walk did not get to these
	Ages        Ages   // as of Walked, of those looked at
}

// Dead is the number of entries whose peer has given up.
func (u *Unaccepted) Dead() uint32 { return u.CloseWait + u.Close }

// Dead is the number of connections whose peer gave up before accept:
// CLOSE_WAIT and then RST is one.
func (r *Row) Dead() uint64 {
	return r.CloseWait + r.Reset - min(r.Reset, r.ResetAfterFIN)
}

// Overflow is the number of refusals.
func (r *Row) Overflow() uint64 { return r.OverflowSYN + r.OverflowACK }

// Failed is the number of calls of accept() that failed.
func (r *Row) Failed() uint64 {
	var calls uint64
	for i := range r.AcceptErrors {
		calls += r.AcceptErrors[i].Count
	}
	return calls
}

// Oldest is how long the entry at the head has been in the queue, and whether
// that is known. It is 0 where it is not.
func (r *Row) Oldest() (time.Duration, bool) {
	if r.OldestQueued == 0 {
		return 0, false
	}
	return time.Duration(max(0, r.Time-r.OldestQueued)), true
}

// Imbalance is what the books miss: queued at attach + enqueued + migrated in -
// accepted - purged - migrated out - still queued, in connections, and whether
// it can be told. It is 0 when every connection was counted in and out, but for
// those that moved while the counts were read.
func (r *Row) Imbalance() (int64, bool) {
	return int64(r.QueuedAtAttach+r.Enqueued+r.MigratedIn) -
		int64(r.Accepted+r.Purged+r.MigratedOut+uint64(r.Depth)), r.AttachKnown
}

// Recently is until when something that happened makes a row worse, in ns.
const Recently = int64(10 * time.Second)

// Failing says that accept() failed lately.
func (r *Row) Failing() bool {
	return slices.ContainsFunc(r.AcceptErrors, func(a AcceptFailures) bool { return r.Time-a.Last < Recently })
}

// Refusing says that a connection was refused lately.
func (r *Row) Refusing() bool { return r.LastOverflow != 0 && r.Time-r.LastOverflow < Recently }

// Rows are all rows as of the latest event or sample, the worst first: stalled,
// then those where accept() fails or connections are refused lately, then by
// dead in the queue, how full the queue is, failures, refusals, deaths, and p99
// of waits.
func (t *Table) Rows() []Row { return t.AppendRows(make([]Row, 0, len(t.rows)+1)) }

// AppendRows appends what Rows gives to rows, of which there are to be none, to
// make use of their memory.
func (t *Table) AppendRows(rows []Row) []Row {
	for _, r := range t.rows {
		rows = append(rows, t.view(r))
	}
	if c := &t.noEntry; t.other != nil ||
		c.Enqueued+c.Accepted+c.Purged+c.MigratedIn+c.MigratedOut+c.OverflowSYN+c.OverflowACK > 0 {
		rows = append(rows, t.viewOthers())
	}
	worstFirst(rows)
	return rows
}

// worstFirst sorts rows. They are large, so that each is moved once only.
func worstFirst(rows []Row) {
	if len(rows) < 2 {
		return
	}
	order := make([]int32, len(rows))
	for i := range rows {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return worse(&rows[a], &rows[b]) })
	for i := range order {
		// The rows change places in circles.
		first := rows[i]
		at := int32(i)
		for order[at] != int32(i) {
			next := order[at]
			rows[at], order[at] = rows[next], at
			at = next
		}
		rows[at], order[at] = first, at
	}
}

// worse looks at what most often tells rows apart before it looks at the rest: of
// many, most are idle.
func worse(a, b *Row) int {
	if a.quiet() && b.quiet() {
		return cmp.Or(cmp.Compare(b.Accepted, a.Accepted), a.Key.compare(b.Key), cmp.Compare(a.ID, b.ID))
	}
	return cmp.Or(
		compareStalls(a.StalledSince, b.StalledSince),
		first(a.Failing(), b.Failing()),
		first(a.Refusing(), b.Refusing()),
		cmp.Compare(b.Unaccepted.Dead(), a.Unaccepted.Dead()),
		cmp.Compare(b.fill(), a.fill()),
		cmp.Compare(b.Failed(), a.Failed()),
		cmp.Compare(b.Overflow(), a.Overflow()),
		cmp.Compare(b.Dead(), a.Dead()),
		cmp.Compare(b.Wait.P99, a.Wait.P99),
		cmp.Compare(b.Accepted, a.Accepted),
		a.Key.compare(b.Key),
		cmp.Compare(a.ID, b.ID))
}

// quiet says that nothing of what makes a row worse than another is there.
func (r *Row) quiet() bool {
	return r.Depth == 0 && r.Wait.P99 == 0 && r.StalledSince == 0 && len(r.AcceptErrors) == 0 &&
		r.OverflowSYN+r.OverflowACK+r.CloseWait+r.Reset == 0 && r.Unaccepted.Dead() == 0
}

// first puts what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// compareStalls puts the stall that began first before the others.
func compareStalls(a, b int64) int {
	if a == 0 || b == 0 {
		return cmp.Compare(b, a)
	}
	return cmp.Compare(a, b)
}

// fill is how full the queues are: each holds one more than its backlog.
func (r *Row) fill() float64 {
	return float64(r.Depth) / (float64(r.Backlog) + float64(max(r.Open, 1)))
}

// view makes the row that others see.
func (t *Table) view(r *row) Row {
	v := Row{
		Key: r.key, Family: r.family, Time: t.now, Open: len(r.open),
		Closed:        r.closed + uint64(len(r.closing)),
		CloseWait:     r.deaths.closeWait,
		Reset:         r.deaths.reset,
		ResetAfterFIN: r.deaths.resetAfterFIN,
		DeadAtAttach:  r.attachDead,
	}
	r.total.lent = true
	sum := r.total
	sum.failures = slices.Clone(sum.failures)
	if len(r.open) == 0 {
		v.Inode = r.inode
		for _, m := range r.closing {
			v.Inode = cmp.Or(m.inode, v.Inode)
		}
	}
	for _, m := range r.closing {
		own := m.totals(t.now)
		sum.add(&own)
	}
	for _, m := range r.open {
		own := m.totals(t.now)
		sum.add(&own)
		one := t.viewMember(m, &own)
		v.Depth += one.Depth
		v.Backlog += one.Backlog
		if v.OldestQueued == 0 || one.OldestQueued != 0 && one.OldestQueued < v.OldestQueued {
			v.OldestQueued = one.OldestQueued
		}
		if compareStalls(one.StalledSince, v.StalledSince) < 0 {
			v.StalledSince = one.StalledSince
		}
		v.Unaccepted.add(&one.Unaccepted)
		if len(r.open) > 1 {
			v.Members = append(v.Members, one)
		} else {
			v.ID, v.Inode, v.V6Only = one.ID, one.Inode, one.V6Only
		}
	}
	worstFirst(v.Members)
	v.setTotals(&sum, t.shared)
	v.Enqueued += r.deaths.enqueued
	v.Accepted += r.deaths.accepted
	v.AcceptedDead += r.deaths.acceptedDead
	inCloseWait, inClose := t.dead.count(r, r.walkedAt())
	v.Unaccepted.settle(v.Depth, inCloseWait, inClose)
	if t.opt.Sampled {
		v.setPassed(&r.passage, r.mptcp)
	} else {
		v.setLost()
	}
	return v
}

func (t *Table) viewMember(m *member, own *totals) Row {
	v := Row{
		Key: m.row.key, ID: m.id, Family: m.family, V6Only: m.v6Only, Inode: m.inode, Open: 1,
		Time: t.now, Depth: m.depth, Backlog: m.backlog, OldestQueued: m.oldest(),
		StalledSince: m.stalledSince,
	}
	v.setTotals(own, t.shared)
	if w := &m.last; m.walks > 0 {
		v.Unaccepted = Unaccepted{
			Known: true, Walked: w.at, Ages: w.ages,
			SynRecv:   w.states[inSynRecv],
			NotLooked: w.depth - min(w.depth, w.looked),
		}
		v.Unaccepted.settle(m.depth, w.states[inCloseWait], w.states[inClose])
	}
	if t.opt.Sampled {
		v.Sampled, v.Seen, v.AtLeast = true, v.Accepted, true // what enters is counted by address
	} else {
		v.setLost()
	}
	return v
}

// viewOthers is the row of all that has none of its own. What was queued at
// attach is not known of all of it, so its books cannot be told.
func (t *Table) viewOthers() Row {
	t.others().total.lent = true
	o := *t.others()
	apart := member{counts: t.noEntry}
	own := apart.totals(t.now)
	o.total.add(&own)
	o.total.attachNotKnown = true
	v := t.view(&o)
	v.Other = true
	return v
}

func (v *Row) setTotals(s *totals, shared *Histogram) {
	v.Enqueued, v.Accepted, v.AcceptedDead = s.enqueued, s.accepted, s.acceptedDead
	v.Purged, v.PurgedDead = s.purged, s.purgedDead
	v.QueuedAtAttach, v.AttachKnown = s.atAttach, !s.attachNotKnown
	v.MigratedIn, v.MigratedOut = s.migratedIn, s.migratedOut
	v.OverflowSYN, v.OverflowACK, v.LastOverflow = s.overflowSYN, s.overflowACK, s.lastOverflow
	v.MaxDepth, v.MaxDepthBacklog, v.Full = s.maxDepth, s.maxDepthLimit, s.full
	v.AcceptErrors = s.failures.sorted()
	v.Stalls, v.Stalled, v.LastAccept = s.stalls, s.stalled, s.lastAccept
	v.Folded = s.folded
	v.Wait = Waits{Max: time.Duration(s.maxWait), Histogram: s.waits}
	if s.folded && s.waits == nil {
		v.Wait.Histogram, v.Wait.Shared = shared, true
	}
	if h := v.Wait.Histogram; h != nil {
		v.Wait.Count = h.Count()
		v.Wait.P50, v.Wait.P90, v.Wait.P99 = h.Quantile(0.5), h.Quantile(0.9), h.Quantile(0.99)
		if most, known := h.Max(); known {
			v.Wait.Max = max(v.Wait.Max, most)
		}
	}
}

func (v *Row) setLost() {
	if off, known := v.Imbalance(); known {
		v.Lost = uint64(max(off, -off))
	}
}

// add sums what walks of several queues found. The states are settled after.
func (u *Unaccepted) add(o *Unaccepted) {
	if !o.Known {
		return
	}
	if !u.Known || o.Walked < u.Walked {
		u.Walked = o.Walked
	}
	u.Known = true
	u.SynRecv += o.SynRecv
	u.NotLooked += o.NotLooked
	for i, n := range o.Ages {
		u.Ages[i] += n
	}
}

// settle makes the states sum up to the depth, which is newer than the walk:
// those of which nothing else is known are established.
func (u *Unaccepted) settle(depth, closeWait, closed uint32) {
	take := func(n uint32) uint32 {
		n = min(n, depth)
		depth -= n
		return n
	}
	u.Close = take(closed)
	u.CloseWait = take(closeWait)
	if !u.Known {
		return
	}
	u.SynRecv = take(u.SynRecv)
	u.NotLooked = take(u.NotLooked)
	u.Established = depth
}
