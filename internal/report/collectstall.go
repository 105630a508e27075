package report

import (
	"slices"

	"acceptwatch/internal/event"
)

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
			Errno: e.Errno, Failing: Who{PID: e.PID, Comm: e.Comm}}
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
	s.Failed = q.failed - q.failedThen
	if p := q.place; p != nil {
		s.Dead += p.dead
		if s.From < c.table.Start() { // they gave up in it, before it was recorded
			s.Dead += c.table.DeadAtAttach(p.key)
		}
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
