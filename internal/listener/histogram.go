package listener

import (
	"iter"
	"math"
	"math/bits"
	"time"
)

// The rule of the buckets, shared with bpf/histogram.bpf.h: log-linear, in µs.
// Each power of two is cut into 1<<SubBits equal parts, so that below
// 1<<(SubBits+1) µs each bucket is one value, and above it a bucket [a,b) has
// b <= a + a>>SubBits.
const (
	SubBits = 5
	Buckets = 1024 // values of 1<<36 µs (19 hours) and more are in the last one

	parts = 1 << SubBits
)

// BucketOf is the index of the bucket that counts a wait of us µs: 0 to
// Buckets-1.
func BucketOf(us uint64) int {
	if us < parts {
		return int(us)
	}
	e := bits.Len64(us) - 1
	i := (e-SubBits+1)*parts + int(us>>(e-SubBits))&(parts-1)
	return min(i, Buckets-1)
}

// BucketBounds are the values, in µs, that bucket i counts: from lo up to, but
// without, hi. The last bucket counts all greater values too. i is 0 to
// Buckets-1.
func BucketBounds(i int) (lo, hi uint64) {
	if i < parts {
		return uint64(i), uint64(i) + 1
	}
	shift := i/parts - 1
	lo = uint64(parts+i%parts) << shift
	return lo, lo + 1<<shift
}

// Histogram counts waits by length. Its zero value is empty. It holds memory
// for the span between its lowest and its highest bucket only.
type Histogram struct {
	first  int      // the bucket of counts[0]
	counts []uint64 // connections
	n      uint64   // their sum
	max    time.Duration
	// noMax says that counts came in without their greatest wait.
	noMax bool
}

// Add counts one wait. A negative one counts as 0.
func (h *Histogram) Add(wait time.Duration) {
	wait = max(wait, 0)
	h.addTo(BucketOf(uint64(wait/time.Microsecond)), 1)
	h.max = max(h.max, wait)
}

// AddBucket adds n connections to bucket i, which is 0 to Buckets-1. Their
// greatest wait is not known until NoteMax.
func (h *Histogram) AddBucket(i int, n uint64) {
	if n > 0 {
		h.addTo(i, n)
		h.noMax = true
	}
}

func (h *Histogram) addTo(i int, n uint64) {
	h.span(i, i+1)
	h.counts[i-h.first] += n
	h.n += n
}

// AddBuckets adds counts, in connections, whose first is that of bucket 0;
// those after Buckets are ignored. Their greatest wait is not known until
// NoteMax.
func (h *Histogram) AddBuckets(counts []uint32) {
	lo, hi := 0, min(len(counts), Buckets)
	for lo < hi && counts[lo] == 0 {
		lo++
	}
	for lo < hi && counts[hi-1] == 0 {
		hi--
	}
	if lo == hi {
		return
	}
	h.span(lo, hi) // at once
	for i, n := range counts[lo:hi] {
		h.AddBucket(lo+i, uint64(n))
	}
}

// NoteMax says that max is the greatest of all waits added so far, or that of
// a part of them if others came with a greater one.
func (h *Histogram) NoteMax(max time.Duration) {
	if max > h.max {
		h.max = max
	}
	h.noMax = false
}

// Merge adds what o counts.
func (h *Histogram) Merge(o *Histogram) {
	if o == nil || o.n == 0 {
		return
	}
	h.span(o.first, o.first+len(o.counts))
	for i, n := range o.counts {
		h.counts[o.first-h.first+i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
	h.noMax = h.noMax || o.noMax
}

// AddGrown adds what now counts and was, the same at an earlier time or nil for
// nothing, did not. Their greatest wait is not known until NoteMax.
func (h *Histogram) AddGrown(now, was *Histogram) {
	if now == nil || now.n == 0 || now == was {
		return
	}
	grown := func(i int) uint64 {
		n := now.counts[i]
		if was != nil {
			if at := now.first + i - was.first; at >= 0 && at < len(was.counts) {
				n = Grown(n, was.counts[at])
			}
		}
		return n
	}
	lo, hi := 0, len(now.counts)
	for lo < hi && grown(lo) == 0 {
		lo++
	}
	for lo < hi && grown(hi-1) == 0 {
		hi--
	}
	if lo == hi {
		return
	}
	h.span(now.first+lo, now.first+hi)
	for i := lo; i < hi; i++ {
		h.AddBucket(now.first+i, grown(i))
	}
}

// Clone is a copy that shares nothing with h.
func (h *Histogram) Clone() *Histogram {
	c := *h
	c.counts = append([]uint64(nil), h.counts...)
	return &c
}

// Count is the number of waits.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the greatest wait, and whether it is known.
func (h *Histogram) Max() (time.Duration, bool) { return h.max, h.n > 0 && !h.noMax }

// Quantile is the wait that a part q (0 to 1) of the connections did not
// exceed, by the nearest rank: exact to the µs below 64 µs, and within 1/65 of
// the true value up to 1<<36 µs. It is never above Max, when that is known. It
// is 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	greatest, known := h.Max()
	rank := uint64(1)
	if q > 0 { // NaN is not
		rank = min(max(uint64(math.Ceil(min(q, 1)*float64(h.n))), 1), h.n)
	}
	if rank == h.n && known {
		return greatest
	}
	var below uint64
	for i, n := range h.counts {
		if below += n; below >= rank {
			wait := BucketMiddle(h.first + i)
			if known {
				wait = min(wait, greatest)
			}
			return wait
		}
	}
	return greatest // not reached: n is the sum of counts
}

// BucketMiddle stands for the waits in bucket i, which is 0 to Buckets-1: of
// [a,b), the value whose greatest relative error is the least, 2ab/(a+b), off by
// at most (b-a)/(b+a).
func BucketMiddle(i int) time.Duration {
	lo, hi := BucketBounds(i)
	if hi-lo == 1 {
		return time.Duration(lo) * time.Microsecond
	}
	a, b := float64(lo), float64(hi)
	return time.Duration(2 * a * b / (a + b) * float64(time.Microsecond))
}

// All yields the buckets that are not empty, lowest first, with their counts.
func (h *Histogram) All() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		for i, n := range h.counts {
			if n > 0 && !yield(h.first+i, n) {
				return
			}
		}
	}
}

// span makes room for the buckets from lo up to, but without, hi.
func (h *Histogram) span(lo, hi int) {
	if len(h.counts) == 0 {
		h.first, h.counts = lo, make([]uint64, hi-lo)
		return
	}
	last := h.first + len(h.counts)
	if lo >= h.first && hi <= last {
		return
	}
	lo, hi = min(lo, h.first), max(hi, last)
	grown := make([]uint64, hi-lo)
	copy(grown[h.first-lo:], h.counts)
	h.first, h.counts = lo, grown
}
