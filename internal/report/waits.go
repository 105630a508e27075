package report

import (
	"iter"
	"math"
	"time"

	"acceptwatch/internal/listener"
)

// Waits of columns are counted more coarsely than those of listeners: four bins
// for each power of two, and bins of 8 µs below 32 µs.
const (
	binShift = listener.SubBits - 2
	// Bins is the number of bins.
	Bins = listener.Buckets >> binShift
)

func binOf(wait time.Duration) int {
	return listener.BucketOf(uint64(max(0, wait)/time.Microsecond)) >> binShift
}

// BinBounds are the waits that a bin counts, from lo up to, but without, hi.
// The last bin, Bins-1, counts all that are longer, too.
func BinBounds(bin int) (lo, hi time.Duration) {
	first, _ := listener.BucketBounds(bin << binShift)
	_, last := listener.BucketBounds((bin+1)<<binShift - 1)
	return time.Duration(first) * time.Microsecond, time.Duration(last) * time.Microsecond
}

// spare is of how many bins Waits make room at once.
const spare = 8

// Waits are the waits of connections that were accepted in one column.
type Waits struct {
	Max    time.Duration // exact
	first  uint8         // the bin of counts[0]
	counts []uint32      // connections
}

func (w *Waits) add(wait time.Duration) {
	w.Max = max(w.Max, wait)
	bin := binOf(wait)
	w.span(bin, bin+1)
	w.counts[bin-int(w.first)]++
}

func (w *Waits) merge(o *Waits) {
	if len(o.counts) == 0 {
		return
	}
	w.Max = max(w.Max, o.Max)
	w.span(int(o.first), int(o.first)+len(o.counts))
	for i, n := range o.counts {
		w.counts[int(o.first)-int(w.first)+i] += n
	}
}

// span makes room for the bins from lo up to, but without, hi.
func (w *Waits) span(lo, hi int) {
	first, last := int(w.first), int(w.first)+len(w.counts)
	if len(w.counts) == 0 {
		first, last = lo, lo
	}
	if lo >= first && hi <= last {
		return
	}
	// A few more than needed, as others near them will come.
	lo, hi = min(lo, first)/spare*spare, min((max(hi, last)+spare-1)/spare*spare, Bins)
	grown := make([]uint32, hi-lo)
	copy(grown[first-lo:], w.counts)
	w.first, w.counts = uint8(lo), grown
}

// All yields the bins that are not empty, lowest first, with their counts.
func (w *Waits) All() iter.Seq2[int, uint32] {
	return func(yield func(int, uint32) bool) {
		for i, n := range w.counts {
			if n > 0 && !yield(int(w.first)+i, n) {
				return
			}
		}
	}
}

// Quantile is the wait that a part q (0 to 1) of the connections did not
// exceed, within 12 %, or 4 µs below 32 µs; 0 if there are none.
func (w *Waits) Quantile(q float64) time.Duration {
	var n uint64
	for _, c := range w.counts {
		n += uint64(c)
	}
	if n == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(n))), 1), n)
	if rank == n {
		return w.Max
	}
	for bin, c := range w.All() {
		if rank > uint64(c) {
			rank -= uint64(c)
			continue
		}
		lo, hi := BinBounds(bin)
		if bin >= 4 { // from 32 µs on; the value whose greatest relative error is the least
			return min(w.Max, time.Duration(2*float64(lo)*float64(hi)/float64(lo+hi)))
		}
		return min(w.Max, (lo+hi)/2)
	}
	return w.Max
}
