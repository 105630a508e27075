package report

import (
	"acceptwatch/internal/listener"
)

// Column is what happened at a listener, or at all, in one span of time. All but
// Depth, Backlog and Fill are of the events that were recorded one by one.
type Column struct {
	Depth    uint32  // the greatest number of connections in the queue, or all queues
	Backlog  uint32  // the greatest limit of the queue, or the sum of limits
	Fill     float32 // the greatest depth of one queue, as a part of its places: 1 is full
	Accepted uint32  // connections
	Dead     uint32  // connections whose client gave up while they were queued
	Overflow uint32  // refusals
	Purged   uint32  // connections
	Stalls   uint32  // that went on: the greatest number at a time
	Failed   uint64  // calls of accept()
	Waits    Waits   // of those accepted
}

// full notes how full a queue was: it holds one more than its backlog.
func (c *Column) full(depth, backlog uint32) {
	c.Fill = max(c.Fill, float32(float64(depth)/(float64(backlog)+1)))
}

func (c *Column) merge(o *Column) {
	c.Depth = max(c.Depth, o.Depth)
	c.Backlog = max(c.Backlog, o.Backlog)
	c.Fill = max(c.Fill, o.Fill)
	c.Stalls = max(c.Stalls, o.Stalls)
	c.add(o)
}

// add adds the counts of events.
func (c *Column) add(o *Column) {
	c.Accepted += o.Accepted
	c.Dead += o.Dead
	c.Overflow += o.Overflow
	c.Purged += o.Purged
	c.Failed += o.Failed
	c.Waits.merge(&o.Waits)
}

// series are the columns of one listener, or of all.
type series struct {
	columns []Column
	// The state now, which goes on until something else is known.
	depth, backlog uint32
}

// to gives a column, after those before it were filled with what was so.
func (s *series) to(column int) *Column {
	if column < len(s.columns) {
		return &s.columns[column]
	}
	if s.columns == nil {
		s.columns = make([]Column, 0, maxColumns)
	}
	for len(s.columns) <= column {
		c := Column{Depth: s.depth, Backlog: s.backlog}
		c.full(s.depth, s.backlog)
		s.columns = append(s.columns, c)
	}
	return &s.columns[column]
}

// set notes the state of the queues, as of a column.
func (s *series) set(column int, depth, backlog uint32) {
	c := s.to(column)
	s.depth, s.backlog = depth, backlog
	c.Depth, c.Backlog = max(c.Depth, depth), max(c.Backlog, backlog)
}

// merge makes one column of so many.
func (s *series) merge(factor int) {
	merged := s.columns[:0]
	for i := range s.columns {
		if i%factor == 0 {
			merged = append(merged, s.columns[i])
			continue
		}
		merged[len(merged)-1].merge(&s.columns[i])
	}
	clear(s.columns[len(merged):])
	s.columns = merged
}

// waits are those of all columns, with the precision of columns.
func (s *series) waits() *listener.Histogram {
	var all Waits
	for i := range s.columns {
		all.merge(&s.columns[i].Waits)
	}
	var counts [listener.Buckets]uint32
	for bin, n := range all.All() {
		counts[bin<<binShift+1<<(binShift-1)] = n
	}
	h := new(listener.Histogram)
	h.AddBuckets(counts[:])
	h.NoteMax(all.Max)
	return h
}

// Timeline is time cut into columns of equal width.
type Timeline struct {
	From    int64 // ns, CLOCK_MONOTONIC: where the first column begins
	Width   int64 // ns
	Columns []Column
}

// Start is when a column begins, in ns of CLOCK_MONOTONIC.
func (t *Timeline) Start(column int) int64 { return t.From + int64(column)*t.Width }
