package trigger

import "time"

// Counts are what a listener has counted since the beginning. They only grow.
type Counts struct {
	CloseWait, Reset, Purged, Overflow, AcceptError, Accepted uint64
}

// span is what rates are over, in ns.
const span = int64(time.Second)

// Window remembers the counts of one listener for as long as rates need them.
// Its zero value has seen nothing.
type Window struct {
	past []moment // oldest first; the first one is span ago, or the oldest there is
}

type moment struct {
	at     int64
	counts Counts
}

// Add takes the counts of a time, in ns, later than those before, and gives how
// much they have grown in the last second. Of counts that came first, nothing is
// known to be new.
func (w *Window) Add(at int64, now Counts) Values {
	w.past = append(w.past, moment{at, now})
	old := 0
	for old+1 < len(w.past) && w.past[old+1].at <= at-span {
		old++
	}
	w.past = append(w.past[:0], w.past[old:]...)
	was := &w.past[0]
	more := func(now, was uint64) float64 { return float64(max(now, was) - was) }
	v := Values{
		CloseWait: more(now.CloseWait, was.counts.CloseWait), Reset: more(now.Reset, was.counts.Reset),
		Purged: more(now.Purged, was.counts.Purged), Overflow: more(now.Overflow, was.counts.Overflow),
		AcceptError: more(now.AcceptError, was.counts.AcceptError), Accepted: more(now.Accepted, was.counts.Accepted),
	}
	if over := at - was.at; over > span { // samples came late
		for _, rate := range []*float64{&v.CloseWait, &v.Reset, &v.Purged, &v.Overflow, &v.AcceptError, &v.Accepted} {
			*rate *= float64(span) / float64(over)
		}
	}
	return v
}
