package metrics

import (
	"maps"

	"acceptwatch/internal/listener"
)

var _ listener.Moves = (*Book)(nil)

// Absorbed implements listener.Moves: what was counted at a row is not counted
// again at the one that took it over.
func (b *Book) Absorbed(from, into listener.RowName) {
	e := b.rows[from]
	if e == nil { // never looked at
		return
	}
	delete(b.rows, from)
	to := b.entryOf(into)
	to.counts.add(&e.counts)
	waits := &listener.Histogram{} // that of a row is not to be changed
	waits.Merge(to.waits)
	waits.Merge(e.waits)
	to.waits = waits
}

// adrift are the failed accepts of one errno at listeners that are not known.
type adrift struct {
	since   int64  // ns: of the first look at some
	settled uint64 // calls: of those that are not tied yet, how many were counted
}

// countFailures counts the failed accepts of which no listener became known for
// long enough.
func (b *Book) countFailures(l *Look) {
	calls := errorsOf(l.Failures)
	for errno, n := range calls {
		f := b.adrift[errno]
		if f == nil {
			f = &adrift{since: l.Time}
			b.adrift[errno] = f
			b.others().counts.addErrors(map[uint16]uint64{errno: 0}) // until it grows
		}
		if grown := listener.Grown(n, f.settled); grown > 0 && l.Time-f.since >= notKnownFor {
			b.others().counts.addErrors(map[uint16]uint64{errno: grown})
			f.settled += grown
		}
	}
	maps.DeleteFunc(b.adrift, func(errno uint16, f *adrift) bool { return calls[errno]+f.settled == 0 })
}

// Tied implements listener.Moves. Which of several calls were counted already is
// not known: as many as can have been.
func (b *Book) Tied(calls listener.AcceptFailures, into listener.RowName) {
	f := b.adrift[calls.Errno]
	if f == nil {
		return
	}
	if was := min(f.settled, calls.Count); was > 0 {
		f.settled -= was
		b.entryOf(into).counts.addErrors(map[uint16]uint64{calls.Errno: was})
	}
}
