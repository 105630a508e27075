package report

import (
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// place is what is collected of one bound address.
type place struct {
	key            listener.Key
	depth, backlog uint32 // sums over its queues
	series         series
	deepest, limit uint32 // the greatest depth of one queue, and its backlog then
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
	// Failed calls of accept(), and what they were at the last accept.
	failed, failedThen uint64
}

// queueOf is the queue of an event. Of one whose listener is not known, it is
// one that nobody else refers to.
func (c *collector) queueOf(e *event.Event) *queue {
	if e.ListenerID != 0 {
		if q := c.recent.Get(e.ListenerID); q != nil {
			return q
		}
		if q := c.queues[e.ListenerID]; q != nil {
			c.recent.Put(e.ListenerID, q)
			return q
		}
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
	c.recent.Put(id, q)
	return q
}

// forgetClosed makes room: what has no limit is closed.
func (c *collector) forgetClosed() {
	for id, q := range c.queues {
		if q.backlog == 0 && q.depth == 0 && q.stall == nil {
			delete(c.queues, id)
			c.recent.Forget(id)
		}
	}
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
		p.note(q, column)
	}
}

// note takes how deep one queue is, as of a column.
func (p *place) note(q *queue, column int) {
	p.series.to(column).full(q.depth, q.backlog)
	if q.depth > p.deepest {
		p.deepest, p.limit = q.depth, q.backlog
	}
}

// sample brings the depths up to date with what the kernel and the walks say.
func (c *collector) sample(s *listener.Sample) {
	column := c.see(s.Time)
	c.table.Update(s, c.emit)
	if c.base == nil && c.report.Header.Partial() {
		c.base = c.table.Baseline() // it has counted since long before
	}
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
