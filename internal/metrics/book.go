package metrics

import (
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// Look is what one look at a source gave. It is not kept, but for the histograms
// of its rows, which must not change.
type Look struct {
	Time int64          // ns, CLOCK_MONOTONIC
	Mode string         // "fentry", "kprobe" or "restricted"
	Rows []listener.Row // the worst first, with histograms
	// Owners are who holds the listeners of a row; nil: no label needs them.
	Owners func(*listener.Row) []owner.Process
	// Failures are those of accept() at listeners that are not known.
	Failures []listener.AcceptFailures
	Losses   []listener.Loss
	// LossKinds are what losses can be of: 0 until there is one, so that the first
	// is a growth.
	LossKinds []string
	Programs  []Program // nil: not known
}

// Program is what an eBPF program has cost so far. Its counts are 0 if the kernel
// does not count them.
type Program struct {
	Name string
	Runs uint64
	Time time.Duration
}

// Options are the settings of a Book; zero values mean the defaults.
type Options struct {
	Labels []Label // default: listener, port, netns
	// Most is how many series there are of one metric, besides that of what finds
	// no room. Default: 2000.
	Most  int
	Build Build
}

// Build is what acceptwatch was built from. What is not known is empty.
type Build struct{ Version, Revision, Go string }

// DefaultLabels are those of Options.
func DefaultLabels() []Label { return []Label{LabelListener, LabelPort, LabelNetNS} }

// DefaultMost is that of Options.
const DefaultMost = 2000

// notKnownFor is after how long what happened at an address is counted although no
// listener became known there, in ns.
const notKnownFor = int64(time.Minute)

// Book keeps the series. It is told of the Moves of the table whose rows it is
// given. It is for one goroutine; what Take returns may be read by any.
type Book struct {
	opt    Options
	descs  *descs
	wheres *wheres

	rows     map[listener.RowName]*entry
	shared   *listener.Histogram // of listeners without one of their own, as of the last look
	adrift   map[uint16]*adrift  // by errno
	lost     map[string]uint64   // the most so far: some can be made up for
	series   map[labelSet]*series
	other    *series
	folded   map[labelSet]struct{}
	foldings uint64
}

// entry is what a row had counted at the last look.
type entry struct {
	counts counts
	waits  *listener.Histogram
	place  labelSet // of the row itself
	labels labelSet // the last
	since  int64    // ns: of the first look at it
}

// NewBook is an empty Book.
func NewBook(o Options) *Book {
	if len(o.Labels) == 0 {
		o.Labels = DefaultLabels()
	}
	if o.Most <= 0 {
		o.Most = DefaultMost
	}
	return &Book{
		opt: o, descs: newDescs(o.Labels), wheres: newWheres(),
		rows: make(map[listener.RowName]*entry), series: make(map[labelSet]*series),
		folded: make(map[labelSet]struct{}), lost: make(map[string]uint64), adrift: make(map[uint16]*adrift),
	}
}

// count takes what the rows have counted since the last look, and how they are.
func (b *Book) count(l *Look) {
	for _, s := range b.series {
		s.begin()
	}
	if b.other != nil {
		b.other.begin()
	}
	folded := make(map[labelSet]struct{})
	for i := range l.Rows {
		r := &l.Rows[i]
		if r.Wait.Shared {
			b.countShared(r.Wait.Histogram)
		}
		if e := b.entryOf(listener.NameOf(r)); r.Other {
			b.settle(e, r, b.others())
		} else {
			b.countRow(l, e, r, folded)
		}
	}
	b.countFailures(l)
	for _, what := range l.LossKinds {
		b.lost[what] = max(b.lost[what], 0)
	}
	for i := range l.Losses {
		loss := &l.Losses[i]
		b.lost[loss.What] = max(b.lost[loss.What], loss.Count)
	}
	for key := range folded {
		if _, already := b.folded[key]; !already {
			b.foldings++
		}
	}
	b.folded = folded
	b.drop(l.Time)
}

// entryOf is that of a row, which is made if there is none.
func (b *Book) entryOf(name listener.RowName) *entry {
	e := b.rows[name]
	if e == nil {
		e = &entry{}
		if !name.Other {
			e.place = ofPlace(&name.Key)
		}
		b.rows[name] = e
	}
	return e
}

func (b *Book) countRow(l *Look, e *entry, r *listener.Row, folded map[labelSet]struct{}) {
	if e.since == 0 {
		e.since = l.Time
	}
	if r.Open == 0 && r.Closed == 0 {
		// No listener is known yet: when one is, it takes the counts over.
		to := b.others() // which is 0 while this waits, so that it grows after
		if l.Time-e.since >= notKnownFor {
			b.settle(e, r, to)
		}
		return
	}
	key := b.labelsOf(l, e, r)
	if r.Open == 0 && b.series[key] == nil && !e.grew(r) {
		return // its series has been given up
	}
	b.settle(e, r, b.seriesOf(key, folded))
}

// grew says whether a row has counted anything since the last look.
func (e *entry) grew(r *listener.Row) bool {
	grown := countsOf(r).since(&e.counts)
	return !grown.zero() || !r.Wait.Shared && waitsIn(r.Wait.Histogram) != waitsIn(e.waits)
}

// labelsOf are the labels of a row. When its last listener has closed, they are
// what they were.
func (b *Book) labelsOf(l *Look, e *entry, r *listener.Row) labelSet {
	if r.Open == 0 && e.labels != (labelSet{}) {
		return e.labels
	}
	s := e.place
	if l.Owners != nil {
		s.setOwners(l.Owners(r))
	}
	e.labels = s.only(b.opt.Labels)
	return e.labels
}

// settle gives to a series what a row has counted since the last look.
func (b *Book) settle(e *entry, r *listener.Row, to *series) {
	now := countsOf(r)
	now.dead = max(now.dead, e.counts.dead) // read between an RST and its being one after FIN
	grown := now.since(&e.counts)
	to.counts.add(&grown)
	e.counts = now
	if !r.Wait.Shared {
		to.addWaits(r.Wait.Histogram, e.waits)
		if r.Wait.Histogram != nil {
			e.waits = r.Wait.Histogram
		}
	}
	to.see(r)
}

// countShared counts the waits of listeners without a histogram of their own.
func (b *Book) countShared(h *listener.Histogram) {
	if h != nil {
		b.others().addWaits(h, b.shared)
		b.shared = h
	}
}
