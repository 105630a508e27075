package cli

import "acceptwatch/internal/listener"

// mostAsked is how many sockets are remembered not to have a holder.
const mostAsked = 1 << 16

// meet finds out who holds the listeners that appeared since somebody looked, and
// says whether there were any.
func (g *gatherer) meet(rows []listener.Row) (news bool) {
	if g.asked == nil || len(g.asked) > mostAsked {
		g.asked = make(map[uint32]bool)
	}
	inodes := make(map[uint32]struct{})
	for i := range rows {
		for _, inode := range openInodes(&rows[i]) {
			if _, known := g.known[inode]; (!known || g.stale) && !g.asked[inode] {
				g.asked[inode] = true
				inodes[inode] = struct{}{}
			}
		}
	}
	g.stale = false
	g.prune(rows)
	g.take(g.host.holders(inodes))
	return len(inodes) > 0
}

// forget has meet look for all holders again: a server may have started other
// processes since.
func (g *gatherer) forget() {
	g.stale = true
	clear(g.asked)
}
