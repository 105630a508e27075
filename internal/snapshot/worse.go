package snapshot

import (
	"cmp"
	"time"

	"acceptwatch/internal/listener"
)

// Worse orders queues: by dead entries, how full they are, how long their
// oldest entry has waited, and drops.
func Worse(a, b *Queue) int {
	oldest := func(q *Queue) time.Duration {
		age, _ := q.Oldest()
		return age
	}
	return cmp.Or(
		cmp.Compare(b.Unaccepted.Dead(), a.Unaccepted.Dead()),
		cmp.Compare(fill(b), fill(a)),
		cmp.Compare(oldest(b), oldest(a)),
		cmp.Compare(b.Drops, a.Drops),
		cmp.Compare(a.Key.NetNS, b.Key.NetNS),
		a.Key.Addr.Compare(b.Key.Addr),
		cmp.Compare(a.Key.Ifindex, b.Key.Ifindex))
}

// fill is how full a queue is, the fullest of several; each holds one more than
// its backlog.
func fill(q *Queue) float64 {
	one, _ := q.Fullest()
	return float64(one.Depth) / (float64(one.Backlog) + 1)
}

// Fullest is the listener with the fullest queue, of several that share the
// address.
func (q *Queue) Fullest() (row *listener.Row, several bool) {
	row = &q.Row
	for i := range q.Members {
		m := &q.Members[i]
		if i == 0 || uint64(m.Depth)*(uint64(row.Backlog)+1) > uint64(row.Depth)*(uint64(m.Backlog)+1) {
			row = m
		}
	}
	return row, len(q.Members) > 0
}

// Full says that a queue refuses connections: it tests its depth with >
// (sk_acceptq_is_full, include/net/sock.h).
func (q *Queue) Full() bool {
	one, _ := q.Fullest()
	return one.Depth > one.Backlog
}
