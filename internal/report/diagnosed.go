package report

import (
	"net/netip"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/listener"
)

// diagnosed takes the evidence of a stall that goes on, or was over by then.
func (c *collector) diagnosed(e *diagnose.Evidence) {
	if len(c.report.Diagnoses) >= mostWhy {
		return
	}
	d := Diagnosis{e, diagnose.Judge(e)}
	c.report.Diagnoses = append(c.report.Diagnoses, d)
	bound, err := netip.ParseAddrPort(e.Listener)
	if err != nil || !d.Verdicts[0].Names() {
		return
	}
	// Listeners that share the address stall for reasons of their own.
	inodes := inodesByID(c.table.Rows())
	var stalled []*Stall
	for id, q := range c.queues {
		s := q.stall
		if s == nil || s.Key.Addr != bound || s.Key.NetNS != e.NetNS {
			continue
		}
		if inode := inodes[id]; inode == 0 || e.Inode == 0 || inode == e.Inode {
			stalled = append(stalled, s)
		}
	}
	if len(stalled) == 1 {
		stalled[0].Diagnosis = &d
	}
}

func inodesByID(rows []listener.Row) map[uint64]uint32 {
	inodes := make(map[uint64]uint32)
	for i := range rows {
		inodes[rows[i].ID] = rows[i].Inode
		for j := range rows[i].Members {
			m := &rows[i].Members[j]
			inodes[m.ID] = m.Inode
		}
	}
	return inodes
}
