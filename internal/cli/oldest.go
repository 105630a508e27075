package cli

import (
	"cmp"
	"slices"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
)

// oldestShown is how many entries of the queues the header lists.
const oldestShown = 10

// oldest keeps the entries that have been in their queues for the longest, from
// the last walk of each.
type oldest struct {
	queues map[uint64]*queueHead // by listener ID
}

type queueHead struct {
	entries []event.Event // oldestShown at most
	all     int
}

// add takes an event of a walk: a Listener begins its queue anew.
func (o *oldest) add(e *event.Event, f *filter.Filter) {
	if o.queues == nil {
		o.queues = make(map[uint64]*queueHead)
	}
	q := o.queues[e.ListenerID]
	if q == nil || e.Kind == event.Listener {
		q = &queueHead{}
		o.queues[e.ListenerID] = q
	}
	if e.Kind == event.Listener || !f.Match(e.NetNS, e.Local) {
		return
	}
	q.all++
	if len(q.entries) < oldestShown { // a walk begins at the oldest
		q.entries = append(q.entries, *e)
	}
}

// list is the oldest entries of all queues, oldest first, and how many there
// are in all. Those that have been queued for an unknown time are last.
func (o *oldest) list() (entries []event.Event, all int) {
	for _, q := range o.queues {
		entries = append(entries, q.entries...)
		all += q.all
	}
	slices.SortFunc(entries, func(a, b event.Event) int {
		return cmp.Or(
			cmp.Compare(uint64(a.Queued)-1, uint64(b.Queued)-1),
			cmp.Compare(a.ListenerID, b.ListenerID),
			a.Peer.Compare(b.Peer))
	})
	return entries[:min(len(entries), oldestShown)], all
}
