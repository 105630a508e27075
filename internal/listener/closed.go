package listener

import (
	"acceptwatch/internal/event"
)

// close ends a listener. Its last counts are still to come.
func (t *Table) close(m *member, at int64, emit func(*event.Event)) {
	if m.closed {
		return
	}
	m.closed, m.closedAt = true, at
	if t.inodes[m.inode] == m {
		delete(t.inodes, m.inode)
	}
	if t.walking == m {
		t.walking = nil
	}
	m.setDepth(0, max(at, m.depthAt))
	if m.stalledSince != 0 {
		t.endStall(m, at, event.EndedByClose, nil, emit)
	}
	r := m.row
	r.open = without(r.open, m)
	r.closing = append(r.closing, m)
	if len(r.open) == 0 {
		// What is left after the purge may be in the queue of a listener
		// that follows this one and is not known yet.
		t.dead.move(r, &t.nowhere)
	}
	t.closing = append(t.closing, m)
	if len(t.closing) > maxClosing {
		t.fold(t.closing[0])
		t.closing = t.closing[1:]
	}
}

// maxClosing bounds the listeners that wait for their last counts, and
// waitForLast the samples that they wait for, in case these never come.
const (
	maxClosing  = 4096
	waitForLast = 3
)

// closedIDs remembers the listeners that were closed last: late events and
// repeated samples still name them.
type closedIDs struct {
	rows map[uint64]*row
	ring []uint64
	at   int
}

const maxClosedIDs = 1 << 14

func (c *closedIDs) add(id uint64, r *row) {
	if c.rows == nil {
		c.rows = make(map[uint64]*row)
	}
	if len(c.ring) < maxClosedIDs {
		c.ring = append(c.ring, id)
	} else {
		delete(c.rows, c.ring[c.at])
		c.ring[c.at] = id
		c.at = (c.at + 1) % maxClosedIDs
	}
	c.rows[id] = r
}
