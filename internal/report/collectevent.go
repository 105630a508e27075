package report

import (
	"slices"
	"time"

	"acceptwatch/internal/event"
)

func (c *collector) event(e *event.Event) {
	c.see(e.Time)
	if !c.table.Apply(e, c.emit) {
		return
	}
	column := c.axis.at(e.Time)
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
		c.column(q.place, column).Purged++
		if wait, known := e.Wait(); known {
			c.waited(q, e, wait)
		}
	case event.Overflow:
		q := c.queueOf(e)
		c.setDepth(q, e, column)
		if q.place != nil {
			q.place.overflow++
		}
		c.column(q.place, column).Overflow++
	case event.AcceptError:
		q := c.queueOf(e)
		q.failed += uint64(e.Repeats)
		if s := q.stall; s != nil && s.Errno == 0 {
			s.Errno, s.Failing = e.Errno, Who{PID: e.PID, Comm: e.Comm}
		}
		c.column(q.place, column).Failed += uint64(e.Repeats)
	case event.Listener:
		c.setDepth(c.queueOf(e), e, column)
	case event.ListenerClosed:
		q := c.queueOf(e)
		c.set(q, 0, 0, column)
		q.at = e.Time
	}
}

// column is where an event at a place is counted, which may be nil.
func (c *collector) column(p *place, column int) *Column {
	if p == nil {
		c.crowded++
		return c.nowhere.to(column)
	}
	return p.series.to(column)
}

func (c *collector) accepted(e *event.Event, column int) {
	q := c.queueOf(e)
	if e.Flags&event.ExitUnseen == 0 && e.ListenerID != 0 {
		c.setDepth(q, e, column)
	}
	if e.PID != 0 {
		q.last = Who{e.PID, e.TID, e.Comm}
	}
	q.failedThen = q.failed
	if p := q.place; p != nil {
		p.recorded++
		p.deadThen, p.overflowThen = p.dead, p.overflow
	}
	at := c.column(q.place, column)
	at.Accepted++
	if wait, known := e.Wait(); known {
		at.Waits.add(wait)
		c.waited(q, e, wait)
	}
}

// died takes a client that gave up. One whose FIN came before its RST has done
// so by the former.
func (c *collector) died(e *event.Event, column int) {
	if e.Kind == event.Reset && e.Flags&event.AfterFIN != 0 {
		return
	}
	q := c.queueOf(e)
	c.column(q.place, column).Dead++
	if q.place != nil {
		q.place.dead++
		q.place.patience.note(e)
	}
	c.patience.note(e)
}

// waited keeps a connection that left its queue if few waited longer.
func (c *collector) waited(q *queue, e *event.Event, wait time.Duration) {
	list := c.report.Longest
	if len(list) >= mostLongest && wait <= list[mostLongest-1].Length {
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
