package listener

import (
	"container/list"
	"time"

	"acceptwatch/internal/event"
)

// Options are the settings of a Table; zero values mean the defaults.
type Options struct {
	// StallAfter is how long nobody must accept from a non-empty queue for
	// it to be a stall. Default: 1 s.
	StallAfter time.Duration
	// Start is when counting began, in ns of CLOCK_MONOTONIC: what entered a
	// queue before was queued at attach. Default: the time of the first event
	// or sample.
	Start int64
	// Sampled says that the source cannot watch accept() (mode Restricted): how many
	// were accepted is told by how many entered the queues and are not there any
	// more.
	Sampled bool
	// ByHolder says that listeners are counted from when their holder is found, not
	// from Start.
	ByHolder bool
	// MaxRows is how many addresses without an open listener get a row of
	// their own; the others share one. Default: 32,768, which is more than there
	// are ephemeral ports (net.ipv4.ip_local_port_range) by default.
	MaxRows int
	// MaxDead is how many dead connections that are still queued are told
	// apart. Default: 1<<20.
	MaxDead int
}

// Table is the state of all listeners, from the events and samples of one
// source. Numbers come from samples only, since samples are exact even when
// events are lost; events give what happened to single connections: who was
// dead in a queue, what a walk found, who ended a stall. It has no clock: the
// time is the latest that came in. It is not safe for concurrent use.
type Table struct {
	opt   Options
	start int64 // ns: counting began
	now   int64 // ns: the latest time that came in
	// sampled is when the last sample was made, in ns.
	sampled int64

	members map[uint64]*member // by listener ID: open, or closed and not yet folded
	recent  Recent[member]     // of members
	inodes  map[uint32]*member // the open ones by inode, as far as it is known
	closing []*member          // of members: closed
	rows    map[Key]*row
	past    list.List         // *row without a member, the longest first
	strays  map[*row]struct{} // rows that never had a listener
	other   *row              // what was in rows beyond MaxRows
	noEntry Counted           // what the source could tie to no listener
	shared  *Histogram        // of the listeners that are Folded; never changed, only replaced
	closed  closedIDs
	joined  bool // a listener became known since the last sample
	met     uint64

	walking   *member // whose entries come now
	dead      deadSet
	nowhere   row // of the dead whose listener is not known
	addresses map[Key]*address
	told      []Key // of addresses, at which deaths were told since the last sample
	tallies   map[failed]*tally
	moves     Moves // nil: nobody asks

	losses      []Loss // of the last sample
	rowsFolded  uint64
	addressLost uint64
	errorsLost  uint64

	due     []*member   // scratch of Update
	touched []failed    // the same
	derived event.Event // scratch of emit
}

// New is an empty Table.
func New(opt Options) *Table {
	if opt.StallAfter <= 0 {
		opt.StallAfter = time.Second
	}
	if opt.MaxRows <= 0 {
		opt.MaxRows = 1 << 15
	}
	if opt.MaxDead <= 0 {
		opt.MaxDead = 1 << 20
	}
	t := &Table{
		opt:       opt,
		start:     opt.Start,
		members:   make(map[uint64]*member),
		inodes:    make(map[uint32]*member),
		rows:      make(map[Key]*row),
		strays:    make(map[*row]struct{}),
		addresses: make(map[Key]*address),
		tallies:   make(map[failed]*tally),
	}
	t.past.Init()
	t.dead.max = opt.MaxDead
	return t
}

// Apply takes the next event of the source. Events of different CPUs may come
// in an order that is not that of their times. It calls emit, if not nil, with
// what follows from the event and is to be shown before it, such as a
// close_wait that was missed and that accept shows (Recovered), or what this
// event ends (StallEnd); emit must not keep the event. Apply reports whether e
// itself is news: it is not when it tells of a death that was already emitted
// as Recovered.
func (t *Table) Apply(e *event.Event, emit func(*event.Event)) (news bool) {
	t.see(e.Time)
	news = true
	switch e.Kind {
	case event.Accepted:
		t.accepted(e, emit)
	case event.CloseWait, event.Reset:
		news = t.died(e, emit)
	case event.Purged:
		t.purged(e, emit)
	case event.Listener:
		t.walk(e)
	case event.Queued:
		t.queued(e, emit)
	case event.Overflow:
		t.overflowed(e)
	case event.AcceptError:
		t.acceptFailed(e)
	case event.ListenerClosed:
		if m := t.byID(e.ListenerID); m != nil {
			t.close(m, e.Time, emit)
		}
	}
	return news
}

func (t *Table) see(at int64) {
	t.now = max(t.now, at)
	if t.start == 0 {
		t.start = at
	}
}

func (t *Table) accepted(e *event.Event, emit func(*event.Event)) {
	m := t.memberOf(e)
	if e.State.Dead() || t.dead.len() > 0 {
		t.acceptedDead(e, m, emit)
	}
	if m == nil {
		return
	}
	m.lastAccept = max(m.lastAccept, e.Time)
	m.forgetUpTo(e.Queued)
	if e.ListenerID != 0 && e.Flags&event.ExitUnseen == 0 { // otherwise the depth is not known
		m.backlog = e.Backlog
		m.setDepth(e.Depth, e.Time)
	}
	if m.stalledSince != 0 && e.Time > m.stalledSince {
		t.endStall(m, e.Time, event.EndedByAccept, e, emit)
	}
}

// overflowed takes a connection that was refused.
func (t *Table) overflowed(e *event.Event) {
	if m := t.byID(e.ListenerID); m != nil {
		m.lastOverflow = max(m.lastOverflow, e.Time)
		m.backlog = e.Backlog
		m.setDepth(e.Depth, e.Time)
	}
}

// acceptFailed takes a failed accept(), which says how the queue is. How often
// it failed is in samples.
func (t *Table) acceptFailed(e *event.Event) {
	if m := t.byID(e.ListenerID); m != nil && e.DepthKnown() {
		m.backlog = e.Backlog
		m.setDepth(e.Depth, e.Time)
	}
}

// purged takes an entry out of a queue that is being emptied, which happens
// only when its listener leaves LISTEN.
func (t *Table) purged(e *event.Event, emit func(*event.Event)) {
	if t.dead.len() > 0 {
		id := identify(e)
		if i := t.dead.find(&id); i != 0 {
			t.dead.remove(i)
			t.dead.leave(&id, e.Time)
		}
	}
	m := t.byID(e.ListenerID)
	if m == nil {
		return
	}
	m.purging = true
	m.forgetUpTo(e.Queued)
	m.setDepth(e.Depth, e.Time)
	if m.stalledSince != 0 {
		t.endStall(m, e.Time, event.EndedByClose, nil, emit)
	}
}

// DeadAtAttach is how many were dead in the queues at a bound address when they were
// first looked at, and had been queued before counting began.
func (t *Table) DeadAtAttach(bound Key) uint64 {
	if r := t.rows[bound.plain()]; r != nil {
		return r.attachDead
	}
	return 0
}

// Start is when counting began, in ns; 0: nothing has come in yet.
func (t *Table) Start() int64 { return t.start }

// Met grows when a listener, or the inode of one, becomes known.
func (t *Table) Met() uint64 { return t.met }

// Losses is what was not seen or not kept so far: the source's own, as of the
// last sample, and the table's. Losses of nothing are left out.
func (t *Table) Losses() []Loss {
	all := append([]Loss(nil), t.losses...)
	for _, l := range t.countLosses() {
		if l.Count > 0 {
			all = append(all, l)
		}
	}
	return all
}

// LossKinds are what a Loss of the table's own can be of (Loss.What).
func (t *Table) LossKinds() []string {
	var kinds []string
	for _, l := range t.countLosses() {
		kinds = append(kinds, l.What)
	}
	return kinds
}

// countLosses tells of each kind, also of those of which there was none.
func (t *Table) countLosses() []Loss {
	return []Loss{
		{"dead_not_tracked", "dead connection[|s] in queues, which were too many to tell apart; " +
			"[its|their] accept or a walk may show [it|them] again as recovered", t.dead.refused},
		{"listeners_folded", "address[|es] of closed listeners, which were too many for rows of their own; " +
			"[it is|they are] counted together in one row", t.rowsFolded},
		{"addresses_not_tracked", "local address[|es], which were too many to follow; " +
			"deaths at [it|them] are in no row", t.addressLost},
		{"accept_errors_not_tracked", "failed call[|s] of accept() by processes that were too many to follow; " +
			"[it is|they are] in no row", t.errorsLost},
	}
}
