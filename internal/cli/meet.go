package cli

// mostAsked is how many sockets are remembered not to have a holder.
const mostAsked = 1 << 16

// meet finds out who holds the listeners that appeared since somebody looked: a
// recording that is cut would not know of them. All is then told again, as a dump
// begins with what was told last.
func (l *live) meet() {
	if len(l.asked) > mostAsked {
		clear(l.asked)
	}
	if l.met == l.table.Met() {
		return
	}
	l.met = l.table.Met()
	rows := l.hosts.rowsOf(l.table.Rows())
	l.hosts.forget(rows)
	inodes := make(map[uint32]struct{})
	for i := range rows {
		if rows[i].Open == 0 {
			continue
		}
		for _, inode := range inodesOf(&rows[i]) {
			if _, known := l.hosts.known[inode]; !known && !l.asked[inode] {
				l.asked[inode] = true
				inodes[inode] = struct{}{}
			}
		}
	}
	if len(inodes) > 0 {
		l.told = 0
	}
	l.hosts.take(l.hosts.host.holders(inodes))
}
