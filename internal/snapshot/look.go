// Package snapshot makes of one look at accept queues what there is to say of
// them: per bound address what is queued, in which states, for how long, and
// what that proves of accept(). It is pure: listeners and entries are given to
// it as the events of a walk, whether the queues were walked (iter/tcp) or their
// sockets listed (sock_diag).
package snapshot

import (
	"cmp"
	"net/netip"
	"slices"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// Queue is the accept queue, or the queues, of one bound address as one look
// found it. Of the Row, the place, the depth, Unaccepted and OldestQueued are
// known, and the counts of a trace are not.
type Queue struct {
	listener.Row

	// Derived says that Unaccepted.Close is not counted: it is the depth less
	// what was listed, twice the same, since sock_diag lists no socket in CLOSE.
	Derived bool
	Hidden  Hidden // why Unaccepted.NotLooked were not looked at
	// Excess are connections that were listed and are not in the queue: they
	// were accepted meanwhile, or are of MPTCP on a kernel that does not say so.
	Excess uint32
	// Elsewhere are entries that Options.Wanted does not want: they are in the
	// depth, and in nothing else.
	Elsewhere  uint32
	AgeUnknown uint32 // entries that are in no count of Unaccepted.Ages
	Unread     uint64 // bytes that queued clients have sent, but for those of MPTCP

	// Drops are the SYNs and last ACKs that the open listeners dropped since
	// they were made, what clients send again included: sk_drops. Most often
	// the queue was full.
	Drops      uint64
	DropsKnown bool

	Accepts Accepts
	// Connections are the entries, the oldest first; only if
	// Options.Connections. Those that may be of MPTCP have its flag.
	Connections []event.Event
}

// Options say what to keep.
type Options struct {
	// Walked says that the entries come from walks of the queues: in order, and
	// those in CLOSE too.
	Walked      bool
	Connections bool
	// Wanted says by its address whether a connection to a listener that is bound
	// to all of them is asked for; nil: all are.
	Wanted func(netns uint32, local netip.AddrPort) bool
	// Before is what earlier looks found; nil: this is the only one.
	Before *History
}

// Look collects what is found. Listeners come first, or before their entries.
type Look struct {
	opt    Options
	table  *listener.Table
	queues map[listener.Key]*queue
	second secondLook
	// multipath are listeners, by ID, that take MPTCP clients: what these have
	// sent does not wait in the socket that is queued.
	multipath map[uint64]bool
	// Unplaced are entries whose listener is not known: it was closed while
	// one looked, or opened.
	Unplaced int
}

// queue is what was found of one address.
type queue struct {
	anyAddress bool // is what its listener is bound to
	elsewhere  uint32
	states     [4]uint32 // of entries: ESTABLISHED, CLOSE_WAIT, CLOSE, SYN_RECV
	ages       listener.Ages
	ageUnknown uint32
	unread     uint64
	drops      uint64
	dropsKnown bool
	again      uint32 // depth at the second look
	looked     bool   // there was one
	third      uint32 // depth after a second listing
	confirmed  bool   // there was one
	mayBe      uint32 // MPTCP subflows, each of them queued or accepted

	listed, relisted listing

	entries     uint32
	oldest      event.Event // the first of a walk, or that which was queued first; Kind 0: none
	heads       heads
	proof       proof
	connections []event.Event
}

// New is an empty Look.
func New(o Options) *Look {
	return &Look{
		opt: o, table: listener.New(listener.Options{}), queues: make(map[listener.Key]*queue),
		multipath: make(map[uint64]bool),
		second: secondLook{
			strays: make(map[where]struct{}), all: listener.New(listener.Options{}), unlisted: make(map[uint32]bool),
		},
	}
}

// Table places sockets: it knows the listeners.
func (l *Look) Table() *listener.Table { return l.table }

// Listener takes a listener, as an event of kind Listener.
func (l *Look) Listener(e *event.Event) {
	l.table.Apply(e, nil)
	if e.Flags&event.MPTCP != 0 {
		l.multipath[e.ListenerID] = true
	}
}

// Drops takes how many SYNs and last ACKs a listener that is known dropped.
func (l *Look) Drops(e *event.Event, drops uint32) {
	if q := l.at(e); q != nil {
		q.drops += uint64(drops)
		q.dropsKnown = true
	}
}

// Again takes the depth of a listener, after its entries were listed.
func (l *Look) Again(e *event.Event) {
	if q := l.at(e); q != nil {
		q.again += e.Depth
		q.looked = true
	}
}

// MayBeQueued takes a socket that may be an entry, or may be accepted: an MPTCP
// subflow, of which sock_diag does not tell.
func (l *Look) MayBeQueued(e *event.Event) {
	if q := l.at(e); q != nil {
		q.mayBe++
	}
}

// Queued takes an entry, as an event of kind Queued.
func (l *Look) Queued(e *event.Event) {
	q := l.at(e)
	if q == nil {
		l.Unplaced++
		return
	}
	q.entries++
	if l.opt.Walked {
		q.proof.add(e)
	} else {
		q.listed.add(e)
	}
	q.heads.add(e, l.opt.Walked)
	if q.anyAddress && l.opt.Wanted != nil && !l.opt.Wanted(e.NetNS, e.Local) {
		q.elsewhere++
		return
	}
	q.unread += uint64(e.Unread)
	switch e.State {
	case event.CloseWaited:
		q.states[1]++
	case event.Close:
		q.states[2]++
	case event.SynRecv:
		q.states[3]++
	default:
		q.states[0]++
	}
	if age, known := e.Wait(); known {
		q.ages.Add(age)
	} else {
		q.ageUnknown++
	}
	if q.oldest.Kind == 0 || !l.opt.Walked && e.Queued != 0 && (q.oldest.Queued == 0 || e.Queued < q.oldest.Queued) {
		q.oldest = *e
	}
	if l.opt.Connections {
		q.connections = append(q.connections, *e)
		if l.multipath[e.ListenerID] {
			q.connections[len(q.connections)-1].Flags |= event.MPTCP
		}
	}
}

// at is the queue where a listener or a connection is; nil: none is known.
func (l *Look) at(e *event.Event) *queue {
	place, ok := l.table.Resolve(e)
	if !ok {
		return nil
	}
	q := l.queues[place.Key]
	if q == nil {
		q = &queue{anyAddress: place.Key.Addr.Addr().IsUnspecified()}
		l.queues[place.Key] = q
	}
	return q
}

// Queues are all that were found, the worst first, by address. It ends the look.
func (l *Look) Queues() []*Queue {
	rows := l.table.Rows()
	steered := l.steered(rows)
	all := make([]*Queue, 0, len(rows))
	for i := range rows {
		if rows[i].Open == 0 {
			continue
		}
		q := l.queues[rows[i].Key]
		if q == nil {
			q = &queue{anyAddress: rows[i].Key.Addr.Addr().IsUnspecified()}
		}
		all = append(all, l.finish(rows[i], q, steered))
	}
	slices.SortFunc(all, Worse)
	return all
}

// depth is how many were queued, of what was read before and after they were
// listed, and how many these are. What comes while a queue is walked is in it.
func (q *queue) depth(before uint32, walked bool) uint32 {
	if walked {
		return max(before, q.entries)
	}
	least, most := before, before
	if q.looked { // entries may have come and gone meanwhile
		least, most = min(least, q.again), max(most, q.again)
	}
	return min(max(least, q.entries), most)
}

func (l *Look) finish(row listener.Row, q *queue, steered map[uint32]bool) *Queue {
	why := l.hidden(&row, q, steered)
	sure := l.opt.Walked || q.looked && row.Depth == q.entries && q.again == q.entries
	row.Depth = q.depth(row.Depth, l.opt.Walked)
	listed := min(q.entries, row.Depth)
	hidden := row.Depth - listed
	row.Unaccepted = listener.Unaccepted{
		Known: true, Walked: row.Time, Ages: q.ages,
		Established: q.states[0], CloseWait: q.states[1], Close: q.states[2], SynRecv: q.states[3],
	}
	out := &Queue{
		Excess: q.entries - listed, Elsewhere: q.elsewhere, AgeUnknown: q.ageUnknown + hidden, Unread: q.unread, Drops: q.drops, DropsKnown: q.dropsKnown,
		Connections: q.connections,
	}
	switch {
	case hidden == 0:
	case why != NoneHidden:
		row.Unaccepted.NotLooked, out.Hidden = hidden, why
	default:
		row.Unaccepted.Close, out.Derived = hidden, true
	}
	if row.OldestQueued = q.oldest.Queued; row.OldestQueued != 0 {
		row.Time = q.oldest.Time
	}
	slices.SortStableFunc(out.Connections, func(a, b event.Event) int {
		return cmp.Compare(uint64(a.Queued)-1, uint64(b.Queued)-1) // not known: last
	})
	if l.opt.Walked && row.Open == 1 {
		out.Accepts = q.proof.accepts
	}
	if l.opt.Before != nil && row.Open == 1 && row.Depth > 0 && (l.opt.Walked || q.again >= q.entries) {
		since := l.opt.Before.compare(row.Key, &q.heads, sure, row.Time)
		if since != 0 && (out.Accepts.NoneSince == 0 || since < out.Accepts.NoneSince) {
			out.Accepts.NoneSince = since
		}
	}
	out.Row = row
	return out
}
