package ui

import (
	"slices"
	"time"

	"acceptwatch/internal/owner"
	"acceptwatch/internal/recording"
)

// HeldBy sums sockets up by the process that has them. One that several have,
// after a fork, counts for the first. silent is since when nothing has come from
// the clients of these, by inode; nil: not known.
func HeldBy(sockets []recording.Held, silent map[uint32]time.Duration) []Held {
	var list []Held
	for i := range sockets {
		var p owner.Process
		if all := sockets[i].Owners; len(all) > 0 {
			p = all[0].Process()
		}
		at := slices.IndexFunc(list, func(h Held) bool { return h.Owner.PID == p.PID })
		if at < 0 {
			at = len(list)
			list = append(list, Held{Owner: owner.Process{PID: p.PID, Comm: p.Comm}})
		}
		list[at].Sockets++
		list[at].Silent = max(list[at].Silent, silent[sockets[i].Inode])
		list[at].Owner.FDs = append(list[at].Owner.FDs, p.FDs...)
	}
	return list
}
