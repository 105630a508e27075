package snapshot

import (
	"time"

	"acceptwatch/internal/event"
)

// Accepts is what a queue proves of accept(), which takes the oldest entry:
// while that stays, nothing is accepted. It is not known of several listeners
// that share an address, and wrong by what a connection was queued elsewhere
// before it moved here (net.ipv4.tcp_migrate_req).
type Accepts struct {
	// NoneSince is a time, in ns, since which nothing has been accepted: all that
	// were in the queue then are in it, or an earlier look found the same oldest
	// entry. 0: not known.
	NoneSince int64
	// AtMost is how many connections can have been accepted since a time, in ns:
	// those that were in the queue then and are not in it now. Known says whether
	// it is.
	AtMost uint32
	Since  int64
	Known  bool
}

// apart is how long after another an entry has to come to have counted it. What
// an entry tells of the depth it has from when its socket was made, a moment
// before it was queued: of several that come at once, none counts the others.
const apart = int64(time.Millisecond)

// proof is what the entries of a queue prove, in their order. One that counted
// as many as are before it shows that these were all there were: the head of
// the queue was its head then.
type proof struct {
	accepts Accepts
	before  uint32 // entries
	last    int64  // ns: when the last of them was queued; 0: not known
}

func (p *proof) add(e *event.Event) {
	if p.last != 0 && e.Queued-p.last > apart && e.DepthAtEntry >= p.before {
		gone := e.DepthAtEntry - p.before
		if a := &p.accepts; !a.Known {
			a.AtMost, a.Since, a.Known = gone, e.Queued, true
		}
		if gone == 0 && p.accepts.NoneSince == 0 {
			p.accepts.NoneSince = e.Queued
		}
	}
	p.before++
	p.last = e.Queued
}
