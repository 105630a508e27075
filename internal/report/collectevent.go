package report

import (
	"slices"

	"acceptwatch/internal/event"
)

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
