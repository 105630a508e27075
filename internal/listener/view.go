package listener

import (
	"cmp"
	"slices"
	"time"
)

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
